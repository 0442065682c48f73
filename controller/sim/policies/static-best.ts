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

/** The largest share of a limit at which `isKept` holds, by halving; the smallest tried if none does. */
function largestShare([low, high]: [number, number], isKept: (share: number) => boolean): number {
  for (let search = 0; search < SEARCHES; search++) {
    const share = (low + high) / 2
    if (isKept(share)) low = share
    else high = share
  }
  return low
}

/**
 * The best fixed assignment that breaks power in at most 1 % of epochs and uplinks in at most 1 % of site-epochs, found
 * in hindsight: first the share of the power that may be planned for, then that of the uplinks.
 */
export const staticBest: MakePolicy = (fleet, world) => {
  const plan = (uplink: number, power: number) =>
    assign(
      world,
      fleet.sites.map(() => uplink),
      power,
    )
  const outcome = (uplink: number, power: number) => play(world, fixed(plan(uplink, power)))
  const power = largestShare([0.6, 1.2], (share) => outcome(1, share).powerViolations <= ALLOWED_VIOLATIONS)
  const uplink = largestShare([0.3, 1.2], (share) => {
    const { siteViolations, powerViolations } = outcome(share, power)
    return siteViolations <= ALLOWED_VIOLATIONS && powerViolations <= ALLOWED_VIOLATIONS
  })
  return fixed(plan(uplink, power))
}
