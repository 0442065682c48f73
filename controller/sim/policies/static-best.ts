import { worthOf } from '../fleet.ts'
import { lateShare, type Outcome, play } from '../play.ts'
import type { MakePolicy, Policy } from '../policy.ts'
import { makeChoice, solveTables } from '../tables.ts'
import type { World } from '../world.ts'

const SEARCHES = 6
const ALLOWED_VIOLATIONS = 0.01
/** One epoch in this many enters the means. */
const SAMPLED = 20
/** Where the searches look. */
const POWER_SHARES = [0.6, 1.2] as const
const UPLINK_SHARES = [0.3, 1.2] as const

const fixed = (chosen: Uint8Array): Policy => ({ decide: () => chosen })

const isAllowed = ({ siteViolations, powerViolations }: Outcome): boolean =>
  siteViolations <= ALLOWED_VIOLATIONS && powerViolations <= ALLOWED_VIOLATIONS

type Assign = (shares: readonly number[], powerShare: number) => Uint8Array

/** Gives the best assignment by means over the whole run, for each site's uplink and for power scaled by a share. */
function assigner(world: World): Assign {
  const { fleet } = world
  const sampled = Array.from({ length: Math.ceil(world.epochs / SAMPLED) }, (_, k) => k * SAMPLED)
  const mean = (of: (t: number) => number) => sampled.reduce((sum, t) => sum + of(t), 0) / sampled.length
  const tables = new Map(
    fleet.devices.map((device, i) => [
      i,
      {
        options: [...fleet.options.keys()],
        choices: fleet.options.map((option, j) =>
          makeChoice(option.id, {
            rateBps: mean((t) => world.rateBps(t, i, j)),
            rateSigmaBps: 0,
            powerW: mean((t) => world.powerW(t, i, j)),
            powerSigmaW: 0,
            worth: mean(
              (t) =>
                device.weight *
                worthOf(world.psnrDb(t, i, j), option) *
                (1 - lateShare(world.latencyS(t, i, j), option.frameRate)),
            ),
          }),
        ),
      },
    ]),
  )
  const siteBps = fleet.sites.map((_, s) => mean((t) => world.capacityBps(t, s)))
  return (shares, powerShare) => {
    const limits = { siteBps: siteBps.map((bps, s) => shares[s]! * bps), powerW: powerShare * fleet.powerCapW }
    const { chosen } = solveTables(fleet, tables, limits)
    return Uint8Array.from(fleet.devices, (_, i) => chosen.get(i)!)
  }
}

/**
 * The largest shares of limits at which each keeps its own condition, by halving all at once; the smallest tried where none
 * does. What one limit is given hardly changes whether another is kept.
 */
function largestShares(
  count: number,
  [low, high]: readonly [number, number],
  areKept: (shares: readonly number[]) => readonly boolean[],
): readonly number[] {
  const [lows, highs] = [Array.from({ length: count }, () => low), Array.from({ length: count }, () => high)]
  for (let search = 0; search < SEARCHES; search++) {
    const shares = lows.map((each, s) => (each + highs[s]!) / 2)
    for (const [s, isKept] of areKept(shares).entries()) (isKept ? lows : highs)[s] = shares[s]!
  }
  return lows
}

/** Searches in one world. Each says what share of a limit may be planned for so that it is broken in at most 1 % of its epochs. */
function searchesOf(world: World) {
  const { sites } = world.fleet
  const assign = assigner(world)
  const outcome = (uplinks: readonly number[], power: number) => play(world, fixed(assign(uplinks, power)))
  const everySite = (share: number) => sites.map(() => share)
  return {
    assign,
    outcome,
    everySite,
    power: (uplinks: readonly number[]) =>
      largestShares(1, POWER_SHARES, ([share]) => [outcome(uplinks, share!).powerViolations <= ALLOWED_VIOLATIONS])[0]!,
    /** One share for all uplinks; the power must be kept with it. */
    together: (power: number) =>
      largestShares(1, UPLINK_SHARES, ([share]) => [isAllowed(outcome(everySite(share!), power))])[0]!,
    apart: (power: number) =>
      largestShares(sites.length, UPLINK_SHARES, (shares) =>
        outcome(shares, power).violationsBySite.map((share) => share <= ALLOWED_VIOLATIONS),
      ),
  }
}

/**
 * The best fixed assignment that breaks power in at most 1 % of epochs and uplinks in at most 1 % of site-epochs, found
 * in hindsight: first the share of the power that may be planned for, then one share of all uplinks.
 */
export const staticBest: MakePolicy = (_, world) => {
  const { assign, everySite, ...search } = searchesOf(world)
  const power = search.power(everySite(1))
  return fixed(assign(everySite(search.together(power)), power))
}

/**
 * The same with more to choose from: uplinks together and each by itself, then the power again; the best of these
 * and of what `staticBest` found.
 */
export const staticBestSites: MakePolicy = (_, world) => {
  const { assign, outcome, everySite, ...search } = searchesOf(world)
  const first = search.power(everySite(1))
  const [together, apart] = [everySite(search.together(first)), search.apart(first)]
  const candidates = [
    { uplinks: together, power: first },
    ...[together, apart].map((uplinks) => ({ uplinks, power: search.power(uplinks) })),
  ].map((plan) => ({ ...plan, ...outcome(plan.uplinks, plan.power) }))
  const allowed = candidates.filter(isAllowed)
  const best = (allowed.length > 0 ? allowed : candidates).reduce((a, b) => (b.utility > a.utility ? b : a))
  return fixed(assign(best.uplinks, best.power))
}
