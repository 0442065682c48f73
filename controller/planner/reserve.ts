import type { Desired } from '@espalier/shared/messages/controller'
import { leaseSum } from './desired-state.ts'

type Kind = 'rateBps' | 'powerW'

/** Clocks of devices run a little slow, and a message may have been under way. */
const SKEW_SHARE = 1.02
const SKEW_MS = 10_000
/** A device that has not been heard for so long is taken to be off. */
const FORGOTTEN_MS = 24 * 3600 * 1000

/** What the safe floors of a device take: the last rungs of its ladders, or its leases where those are less. */
function floorSum(desired: Desired, kind: Kind): number {
  return desired.slots.reduce((sum, { ladder, lease }) => {
    const least = Math.min(...ladder.map((rung) => rung[kind]))
    return sum + Math.min(least, lease[kind] ?? least)
  }, 0)
}

/**
 * What a device that does not answer may still use: its leases until its capsule has ended, then its safe floors, and
 * nothing after a day.
 *
 * @param silentMs Since it was last heard.
 * @param validS Of the capsules that this controller gives.
 */
export function reserveOf(desired: Desired, kind: Kind, silentMs: number, validS: number): number {
  if (silentMs < SKEW_SHARE * validS * 1000 + SKEW_MS) return leaseSum(desired, kind) ?? 0
  return silentMs < FORGOTTEN_MS ? floorSum(desired, kind) : 0
}
