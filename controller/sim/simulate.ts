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
  /** Also find at how much less power `ours` is worth as much as each of these; all and `ours` must be among the policies. */
  readonly powerRivals?: readonly string[]
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
  /** By rival: mean power of `ours` where it has the utility of that one, W. */
  readonly equalUtilityW: Readonly<Record<string, number>>
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)

function tenths(values: Float64Array, reference: Float64Array): number[] {
  return Array.from({ length: 10 }, (_, k) => {
    const [from, to] = [0, 1].map((d) => Math.floor(((k + d) * values.length) / 10))
    return (100 * sum(values.slice(from, to))) / sum(reference.slice(from, to))
  })
}

/** Plays that the search for equal utility takes for each rival at most; fewer once it is this close. */
const POWER_STEPS = 3
const CLOSE = 0.003
/** First guess of the share of the power at which `ours` is worth what a fixed assignment is. */
const FIRST_SHARE = 0.77

type Tried = { readonly share: number } & Pick<Outcome, 'utility' | 'powerW'>

/**
 * Power at which `ours` has a utility, by secants over the share of the limit that it plans for.
 *
 * @param tried At least the full limit; what is played is added.
 */
function findEqualUtility(world: World, tried: Tried[], utility: number, onStep: () => void): number {
  const { fleet } = world
  const nearest = () => tried.sort((a, b) => Math.abs(a.utility - utility) - Math.abs(b.utility - utility))
  for (let k = 0; k < POWER_STEPS; k++) {
    const [near, next] = nearest()
    onStep()
    if (next !== undefined && Math.abs(near!.utility - utility) < CLOSE * utility) continue
    const secant = (): number =>
      near!.share + ((utility - near!.utility) * (next!.share - near!.share)) / (next!.utility - near!.utility)
    const share = next === undefined ? FIRST_SHARE : Math.min(1, Math.max(0.4, secant()))
    tried.push({ share, ...play(world, makeOurs({ powerShare: share })(fleet, world)) })
  }
  const [near, next] = nearest()
  return near!.powerW + ((utility - near!.utility) * (next!.powerW - near!.powerW)) / (next!.utility - near!.utility)
}

/** Plays of one seed, for progress. */
export const stepsOf = ({ policies, powerRivals = [] }: Omit<SimulationOptions, 'bandwidth'>): number =>
  policies.length + 1 + POWER_STEPS * powerRivals.length

/** Play one world with each policy. Deterministic: a seed and options give the same figures on every machine. */
export function simulateSeed(
  seed: number,
  options: SimulationOptions,
  onProgress: (done: number, of: number) => void = () => {},
): SeedResult {
  const { devices, hours, policies, bandwidth, powerRivals = [] } = options
  const fleet = makeFleet({ devices, seed })
  const epochs = Math.round((hours * 3600) / EPOCH_S)
  const world = makeWorld(fleet, { epochs, seed, ...(bandwidth === undefined ? {} : { bandwidth }) })
  const steps = stepsOf(options)
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
  const resultOf = (name: string) => results.find(({ policy }) => policy === name)!
  const tried: Tried[] = powerRivals.length === 0 ? [] : [{ share: 1, ...resultOf('ours') }]
  let done = policies.length + 1
  const equalUtilityW = Object.fromEntries(
    powerRivals.map((rival) => [
      rival,
      findEqualUtility(world, tried, resultOf(rival).utility, () => onProgress(++done, steps)),
    ]),
  )
  return {
    seed,
    powerCapW: fleet.powerCapW,
    policies: results,
    calibration: calibrateLatency(world, seed),
    equalUtilityW,
  }
}
