import { configurationId } from '@espalier/shared/configuration'
import type { Desired } from '@espalier/shared/messages/controller'
import { toRung } from '../plan/ladder.ts'
import type { PlannedSlot } from '../plan/plan-fleet.ts'

export type DesiredBody = Omit<Desired, 'gen'>
type DesiredSlot = Desired['slots'][number]

const TELEMETRY_INTERVAL_S = 1
/** A device that is cut off keeps its lease this long; the budget holds it for as long. */
export const LEASE_TTL_S = 120
/** Leases may drift this much from what a new plan would give before they are sent again. */
const LEASE_DRIFT = 0.1
/** Predictions may drift this much from those in the ladder. */
const PREDICTION_DRIFT = 0.25

/**
 * What a device should run under a plan, its slots in the plan's order: the first rung of each ladder, which is all that
 * `mustPublish()` asks for.
 *
 * @see withLadders
 */
export function outlineDesired(slots: readonly PlannedSlot[]): DesiredBody {
  return {
    telemetryIntervalS: TELEMETRY_INTERVAL_S,
    slots: slots.map(({ input, chosen, lease, prices }) => ({
      slot: input.birth.slot,
      ladder: [toRung(chosen)],
      lease: { ...lease, ttlS: LEASE_TTL_S },
      prices,
    })),
  }
}

/** The outline with the whole ladders of the slots that are planned. */
export function withLadders(outline: DesiredBody, planned: readonly PlannedSlot[]): DesiredBody {
  const bySlot = new Map(planned.map((slot) => [slot.input.birth.slot, slot]))
  const slots = outline.slots.map((slot) => {
    const ladder = bySlot.get(slot.slot)?.ladder
    return ladder === undefined ? slot : { ...slot, ladder: [...ladder] }
  })
  return { ...outline, slots }
}

const differs = (a: number, b: number, share: number): boolean => Math.abs(a - b) > share * Math.max(Math.abs(b), 1e-9)

function limitDiffers(published: number | undefined, planned: number | undefined, needed: number): boolean {
  if (published === undefined || planned === undefined) return published !== planned
  return differs(planned, published, LEASE_DRIFT) || needed > published
}

function slotDiffers(published: DesiredSlot, planned: DesiredSlot): boolean {
  const [before, after] = [published.ladder[0]!, planned.ladder[0]!]
  return (
    published.slot !== planned.slot ||
    published.family?.manifestDigest !== planned.family?.manifestDigest ||
    published.family?.url !== planned.family?.url ||
    configurationId(before.configuration) !== configurationId(after.configuration) ||
    limitDiffers(published.lease.rateBps, planned.lease.rateBps, after.rateBps) ||
    limitDiffers(published.lease.powerW, planned.lease.powerW, after.powerW) ||
    differs(after.rateBps, before.rateBps, PREDICTION_DRIFT) ||
    differs(after.powerW, before.powerW, PREDICTION_DRIFT)
  )
}

/** Whether a device must hear of the plan: estimates move with every message, and most moves change nothing. */
export function mustPublish(published: DesiredBody | undefined, planned: DesiredBody): boolean {
  if (published === undefined || published.slots.length !== planned.slots.length) return true
  return planned.slots.some((slot, i) => slotDiffers(published.slots[i]!, slot))
}

/** Whether all slots run the configurations that they ran, of the same versions. */
export function runsTheSame(before: DesiredBody | undefined, after: DesiredBody): boolean {
  return after.slots.every(({ slot, ladder, family }) => {
    const known = before?.slots.find((other) => other.slot === slot)
    if (known === undefined || known.family?.manifestDigest !== family?.manifestDigest) return false
    return configurationId(known.ladder[0]!.configuration) === configurationId(ladder[0]!.configuration)
  })
}

/** The sum of a device's leases of one kind; undefined if a slot has none. */
export function leaseSum(desired: DesiredBody, kind: 'rateBps' | 'powerW'): number | undefined {
  return desired.slots.reduce<number | undefined>((sum, { lease }) => {
    const limit = lease[kind]
    return sum === undefined || limit === undefined ? undefined : sum + limit
  }, 0)
}
