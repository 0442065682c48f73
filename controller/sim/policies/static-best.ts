import { worthOf } from '../fleet.ts'
import { lateShare, play } from '../play.ts'
import type { MakePolicy, Policy } from '../policy.ts'
import { makeChoice, solveTables } from '../tables.ts'
import type { World } from '../world.ts'

const SEARCHES = 6
const ALLOWED_VIOLATIONS = 0.01
/** One epoch in this many enters the means. */
const SAMPLED = 20

const fixed = (chosen: Uint8Array): Policy => ({ decide: () => chosen })

/** The best assignment by means over the whole run, for uplinks and power scaled by a share. */
function assign(world: World, shares: readonly number[], powerShare: number): Uint8Array {
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
  const siteBps = fleet.sites.map((_, s) => shares[s]! * mean((t) => world.capacityBps(t, s)))
  const { chosen } = solveTables(fleet, tables, { siteBps, powerW: powerShare * fleet.powerCapW })
  return Uint8Array.from(fleet.devices, (_, i) => chosen.get(i)!)
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

/**
 * The best fixed assignment that breaks power in at most 1 % of epochs and uplinks in at most 1 % of site-epochs, found
 * in hindsight: the share of the power that may be planned for, then that of the uplinks, together and for each site alone,
 * then the power's again; the better of the two counts.
 */
export const staticBest: MakePolicy = (fleet, world) => {
  const outcome = (uplinks: readonly number[], power: number) => play(world, fixed(assign(world, uplinks, power)))
  const everySite = (share: number) => fleet.sites.map(() => share)
  const searchPower = (uplinks: readonly number[]) =>
    largestShares(1, [0.6, 1.2], ([share]) => [outcome(uplinks, share!).powerViolations <= ALLOWED_VIOLATIONS])[0]!
  const first = searchPower(everySite(1))
  const [together] = largestShares(1, [0.3, 1.2], ([share]) => [
    outcome(everySite(share!), first).siteViolations <= ALLOWED_VIOLATIONS,
  ])
  const apart = largestShares(fleet.sites.length, [0.3, 1.2], (shares) =>
    outcome(shares, first).violationsBySite.map((share) => share <= ALLOWED_VIOLATIONS),
  )
  const candidates = [everySite(together!), apart].map((uplinks) => {
    const power = searchPower(uplinks)
    return { uplinks, power, ...outcome(uplinks, power) }
  })
  const allowed = candidates.filter(
    (c) => c.siteViolations <= ALLOWED_VIOLATIONS && c.powerViolations <= ALLOWED_VIOLATIONS,
  )
  const best = (allowed.length > 0 ? allowed : candidates).reduce((a, b) => (b.utility > a.utility ? b : a))
  return fixed(assign(world, best.uplinks, best.power))
}
