import type { Family } from '@espalier/shared/manifest/open-family'
import type { AgentConfig } from '../config.ts'
import type { Log } from '../log.ts'
import type { BoardDescription } from '../meter/power-model.ts'
import type { Runtimes } from './runtime.ts'

export interface RuntimeFinderOptions {
  readonly config: Pick<AgentConfig, 'dataDir' | 'backends' | 'threads' | 'maxWorkerBytes'>
  readonly board: BoardDescription
  /** Name and version of the agent. */
  readonly software: string
  readonly workerPath: string
  readonly log: Log
}

/** Says what a machine can run families on. */
export interface RuntimeFinder {
  /** RAM that a worker may have. */
  readonly maxWorkerBytes: number
  /**
   * @param options.isAnew Try, whatever is known.
   * @param options.signal When aborted, no more are tried.
   */
  find(
    family: Family,
    familyDir: string,
    options?: { readonly isAnew?: boolean; readonly signal?: AbortSignal },
  ): Promise<Runtimes>
}
