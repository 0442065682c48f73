import type { DeviceId } from '@espalier/shared/ids'
import type { Capsule } from '@espalier/shared/messages/capsule'
import type { Desired } from '@espalier/shared/messages/controller'
import type { PlannedSlot } from '../plan/plan-fleet.ts'
import { makeCapsuleLadder } from './capsule-ladder.ts'

/**
 * What a device does alone: leases and prices as committed, ladders as the latest plan sees the device.
 *
 * @param validS How long the budgets hold the lease for a device that is not heard.
 */
export function makeCapsule(
  device: DeviceId,
  desired: Desired,
  planned: readonly PlannedSlot[],
  { issuedMs, validS }: { issuedMs: number; validS: number },
): Capsule {
  const slots = desired.slots.flatMap(({ slot, lease: { ttlS: _, ...lease }, prices }): Capsule['slots'] => {
    const known = planned.find(({ input }) => input.birth.slot === slot)
    if (known === undefined) return []
    const ladder = makeCapsuleLadder(known.chosen, known.allowed)
    return [{ slot, ladder, lease, prices }]
  })
  return { format: 'espalier-capsule/1', device, gen: desired.gen, issuedMs: Math.round(issuedMs), validS, slots }
}
