import type { BandwidthTrace } from './bandwidth-trace.ts'
import { type Calibration, calibrateLatency } from './calibrate-latency.ts'
import { EPOCH_S, makeFleet } from './fleet.ts'
import { type Outcome, play } from './play.ts'
import { clairvoyant } from './policies/clairvoyant.ts'
import { makeOurs } from './policies/ours.ts'
import { POLICIES } from './policies.ts'
import { makeWorld, type World } from './world.ts'

export interface SimulationOptions {
  readonly devices: number
  readonly hours: number
  /** Names in POLICIES. */
  readonly policies: readonly string[]
  readonly bandwidth?: readonly BandwidthTrace[]
  /** Also find at how much less power `ours` is worth as much as `static-best`; both must be among the policies. */
  readonly isPowerCompared?: boolean
}

export interface PolicyResult extends Omit<Outcome, 'utilityByEpoch' | 'violationsBySite'> {
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
  /** Power of `ours` where it has the utility of `static-best`, W; undefined if that was not asked. */
  readonly equalUtilityW?: number
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)

function tenths(values: Float64Array, reference: Float64Array): number[] {
  return Array.from({ length: 10 }, (_, k) => {
    const [from, to] = [0, 1].map((d) => Math.floor(((k + d) * values.length) / 10))
    return (100 * sum(values.slice(from, to))) / sum(reference.slice(from, to))
  })
}

/** Plays that the search for equal utility takes. */
export const POWER_STEPS = 3
/** First guess of the share of the power at which `ours` is worth what a fixed assignment is. */
const FIRST_SHARE = 0.7

/** Power at which `ours` has a utility, by secants over the share of the limit that it plans for. */
function findEqualUtility(
  world: World,
  full: Pick<Outcome, 'utility' | 'powerW'>,
  utility: number,
  onStep: (k: number) => void,
): number {
  const { fleet } = world
  const tried = [{ share: 1, ...full }]
  let share = FIRST_SHARE
  for (let k = 1; k <= POWER_STEPS; k++) {
    tried.push({ share, ...play(world, makeOurs({ powerShare: share })(fleet, world)) })
    tried.sort((a, b) => Math.abs(a.utility - utility) - Math.abs(b.utility - utility))
    const [near, next] = [tried[0]!, tried[1]!]
    share = near.share + ((utility - near.utility) * (next.share - near.share)) / (next.utility - near.utility)
    share = Math.min(1, Math.max(0.4, share))
    onStep(k)
  }
  const [near, next] = [tried[0]!, tried[1]!]
  return near.powerW + ((utility - near.utility) * (next.powerW - near.powerW)) / (next.utility - near.utility)
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
  const steps = policies.length + 1 + (options.isPowerCompared ? POWER_STEPS : 0)
  const reference = play(world, clairvoyant(fleet, world), { isSwitchingFree: true })
  onProgress(1, steps)
  const results = policies.map((policy, k): PolicyResult => {
    const { utilityByEpoch, violationsBySite: _, ...outcome } = play(world, POLICIES[policy]!(fleet, world))
    onProgress(k + 2, steps)
    return {
      policy,
      ...outcome,
      utilityPct: (100 * outcome.utility) / reference.utility,
      utilityPctByTenth: tenths(utilityByEpoch, reference.utilityByEpoch),
    }
  })
  const equal =
    options.isPowerCompared === true
      ? findEqualUtility(
          world,
          results.find(({ policy }) => policy === 'ours')!,
          results.find(({ policy }) => policy === 'static-best')!.utility,
          (k) => onProgress(policies.length + 1 + k, steps),
        )
      : undefined
  return {
    seed,
    powerCapW: fleet.powerCapW,
    policies: results,
    calibration: calibrateLatency(world, seed),
    ...(equal === undefined ? {} : { equalUtilityW: equal }),
  }
}
