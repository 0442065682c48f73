import type { Backend } from '@espalier/shared/runtime/session'
import type { RuntimeSpeed } from '../worker/messages.ts'

/** What a worker's networks run on. */
export interface Runtime {
  readonly backend: Backend
  readonly threads: number
}

/** One that was found to work, and how fast it is; undefined: nobody measured it yet. */
export interface UsableRuntime extends Runtime {
  readonly speed: RuntimeSpeed | undefined
}

export interface RefusedRuntime extends Runtime {
  readonly reason: string
}

/** What a device can run a family on, fastest first and at least one, and what it cannot, and why. */
export interface Runtimes {
  readonly usable: readonly UsableRuntime[]
  readonly refused: readonly RefusedRuntime[]
}

export const isSameRuntime = (a: Runtime, b: Runtime): boolean => a.backend === b.backend && a.threads === b.threads

/** How fast it is as measured with the family in this folder; undefined where that is another one, or nobody did. */
export function speedOf(
  { usable }: Runtimes,
  familyDir: string,
  setup: Runtime & { readonly familyDir: string },
): RuntimeSpeed | undefined {
  return setup.familyDir === familyDir ? usable.find((runtime) => isSameRuntime(runtime, setup))?.speed : undefined
}

export const describeRuntime = ({ backend, threads }: Runtime): string =>
  `${backend} with ${threads} ${threads === 1 ? 'thread' : 'threads'}`

/**
 * What is worth trying. One thread leaves the other cores to other slots; a GPU needs no threads.
 *
 * @param threads The most that a worker may have.
 * @returns The first is what every device has.
 */
export function listCandidates(backends: readonly Backend[], threads: number): readonly Runtime[] {
  const counts = threads === 1 ? [1] : [1, threads]
  return backends.flatMap((backend) =>
    (backend === 'webgpu' ? [1] : counts).map((count) => ({ backend, threads: count })),
  )
}
