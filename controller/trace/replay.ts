import { type Outcome, play } from '../sim/play.ts'
import { clairvoyant } from '../sim/policies/clairvoyant.ts'
import { POLICIES } from '../sim/policies.ts'
import type { Trace } from './trace.ts'
import { traceWorld } from './trace-world.ts'

export interface ReplayResult extends Omit<Outcome, 'utilityByEpoch' | 'violationsBySite'> {
  /** A name in POLICIES, or `recorded`: what really ran. */
  readonly policy: string
  /** Of what the clairvoyant has when changes cost nothing. */
  readonly utilityPct: number
  /** The same for each epoch that counts. */
  readonly utilityPctByEpoch: readonly number[]
}

export interface Replay {
  readonly slots: number
  readonly epochs: number
  readonly policies: readonly ReplayResult[]
}

/** What would have become of a recorded fleet under each policy, and under what was recorded. Deterministic. */
export function replayTrace(trace: Trace, policies: readonly string[]): Replay {
  const { world, recorded } = traceWorld(trace)
  const reference = play(world, clairvoyant(world.fleet, world), { isSwitchingFree: true, isReportedExactly: true })
  const results = ['recorded', ...policies].map((policy): ReplayResult => {
    const make = policy === 'recorded' ? recorded : POLICIES[policy]!
    const {
      utilityByEpoch,
      violationsBySite: _,
      ...outcome
    } = play(world, make(world.fleet, world), { isReportedExactly: true })
    return {
      policy,
      ...outcome,
      utilityPct: (100 * outcome.utility) / reference.utility,
      utilityPctByEpoch: [...utilityByEpoch].map((u, t) => (100 * u) / reference.utilityByEpoch[t]!),
    }
  })
  return { slots: world.fleet.devices.length, epochs: world.epochs, policies: results }
}
