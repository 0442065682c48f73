import type { BandwidthTrace } from './bandwidth-trace.ts'
import { type Calibration, calibrateLatency } from './calibrate-latency.ts'
import { EPOCH_S, makeFleet } from './fleet.ts'
import { type Outcome, play } from './play.ts'
import { clairvoyant } from './policies/clairvoyant.ts'
import { POLICIES } from './policies.ts'
import { makeWorld } from './world.ts'

export interface SimulationOptions {
  readonly devices: number
  readonly hours: number
  /** Names in POLICIES. */
  readonly policies: readonly string[]
  readonly bandwidth?: readonly BandwidthTrace[]
}

export interface PolicyResult extends Omit<Outcome, 'utilityByEpoch'> {
  readonly policy: string
  /** Of what the clairvoyant has when changes cost nothing. */
  readonly utilityPct: number
  /** The same for each tenth of the run: where it was won or lost. */
  readonly utilityPctByTenth: readonly number[]
}

/** Everything that one seed says. */
export interface SeedResult {
  readonly seed: number
  readonly powerCapW: number
  readonly policies: readonly PolicyResult[]
  readonly calibration: Calibration
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)

function tenths(values: Float64Array, reference: Float64Array): number[] {
  return Array.from({ length: 10 }, (_, k) => {
    const [from, to] = [0, 1].map((d) => Math.floor(((k + d) * values.length) / 10))
    return (100 * sum(values.slice(from, to))) / sum(reference.slice(from, to))
  })
}

/** Play one world with each policy. Deterministic: a seed and options give the same figures on every machine. */
export function simulateSeed(
  seed: number,
  options: SimulationOptions,
  onProgress: (done: number, of: number) => void = () => {},
): SeedResult {
  const { devices, hours, policies, bandwidth } = options
  const fleet = makeFleet({ devices, seed })
  const epochs = Math.round((hours * 3600) / EPOCH_S)
  const world = makeWorld(fleet, { epochs, seed, ...(bandwidth === undefined ? {} : { bandwidth }) })
  const steps = policies.length + 1
  const reference = play(world, clairvoyant(fleet, world), { isSwitchingFree: true })
  onProgress(1, steps)
  const results = policies.map((policy, k): PolicyResult => {
    const { utilityByEpoch, ...outcome } = play(world, POLICIES[policy]!(fleet, world))
    onProgress(k + 2, steps)
    return {
      policy,
      ...outcome,
      utilityPct: (100 * outcome.utility) / reference.utility,
      utilityPctByTenth: tenths(utilityByEpoch, reference.utilityByEpoch),
    }
  })
  return { seed, powerCapW: fleet.powerCapW, policies: results, calibration: calibrateLatency(world, seed) }
}
