import type { Family } from '@espalier/shared/manifest/open-family'
import { chooseRuntimes } from '../backends/choose-runtimes.ts'
import { probeRuntime } from '../backends/probe-runtime.ts'
import type { Runtimes } from '../backends/runtime.ts'
import type { RuntimeFinder, RuntimeFinderOptions } from '../backends/runtime-finder.ts'

/** A page runs on one backend, which was chosen before the agent began: its settings name no other. */
export class PageRuntimes implements RuntimeFinder {
  readonly #options: RuntimeFinderOptions
  readonly maxWorkerBytes: number

  constructor(options: RuntimeFinderOptions) {
    this.#options = options
    this.maxWorkerBytes = Math.min(options.config.maxWorkerBytes, options.board.memoryBytes)
  }

  async find(
    { manifest }: Family,
    familyDir: string,
    { isAnew = false }: { readonly isAnew?: boolean } = {},
  ): Promise<Runtimes> {
    const { config, workerPath } = this.#options
    const runtime = { backend: config.backends[0]!, threads: config.threads }
    // Nothing to choose from: the slot's worker measures itself.
    if (!isAnew) return { usable: [{ ...runtime, speed: undefined }], refused: [] }
    const variants = manifest.variants.map(({ id }) => id)
    return chooseRuntimes([await probeRuntime(runtime, { workerPath, familyDir, variants })])
  }
}
