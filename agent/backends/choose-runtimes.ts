import type { RuntimeSpeed } from '../worker/messages.ts'
import type { RefusedRuntime, Runtime, Runtimes, UsableRuntime } from './runtime.ts'

/** What came of trying a runtime: how fast it is and which variants it cannot run, or why it cannot be used at all. */
export type Probe =
  | { readonly runtime: Runtime; readonly speed: RuntimeSpeed; readonly failures: ReadonlyMap<string, string> }
  | { readonly runtime: Runtime; readonly reason: string }

/**
 * Judge what was tried. A variant that nothing can run is damaged, which is no fault of a runtime; one that something
 * else can run is.
 *
 * @returns Fastest first. Without any that works, the first of all, unmeasured: its worker says what is wrong.
 */
export function chooseRuntimes(probes: readonly [Probe, ...Probe[]]): Runtimes {
  const ran = probes.filter((probe) => 'speed' in probe)
  const isDamaged = (variant: string): boolean => ran.every(({ failures }) => failures.has(variant))
  const usable: UsableRuntime[] = []
  const refused: RefusedRuntime[] = []
  for (const probe of probes) {
    if ('reason' in probe) {
      refused.push({ ...probe.runtime, reason: probe.reason })
      continue
    }
    const { runtime, speed, failures } = probe
    const failed = [...failures].find(([variant]) => !isDamaged(variant))
    if (failed === undefined) usable.push({ ...runtime, speed })
    else refused.push({ ...runtime, reason: failed[1] })
  }
  usable.sort((a, b) => b.speed!.macsPerSecond - a.speed!.macsPerSecond)
  return usable.length > 0 ? { usable, refused } : { usable: [{ ...probes[0].runtime, speed: undefined }], refused }
}
