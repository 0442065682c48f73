import type { DeviceId } from '@espalier/shared/ids'
import type { FamilyOrder } from '@espalier/shared/messages/controller'
import type { DeviceRecord } from '../ingest/fleet.ts'
import { type DesiredBody, LEASE_TTL_S } from '../planner/desired-state.ts'

type DesiredSlot = DesiredBody['slots'][number]

/**
 * Desired states with the versions of families that slots should run. A slot that no plan moves, as a classifier's, is given
 * what it runs already, with its version: it has no other way to hear of one.
 *
 * @param bodies By device, as planned.
 * @param devices That are in contact.
 * @param orderOf By `device/slot`; undefined: it keeps what it has.
 */
export function addFamilyOrders(
  bodies: ReadonlyMap<DeviceId, DesiredBody>,
  devices: readonly DeviceRecord[],
  orderOf: (key: string) => FamilyOrder | undefined,
): Map<DeviceId, DesiredBody> {
  const added = new Map(bodies)
  for (const device of devices) {
    const body = bodies.get(device.id)
    const planned = (body?.slots ?? []).map((slot): DesiredSlot => {
      const family = orderOf(`${device.id}/${slot.slot}`)
      return family === undefined ? slot : { ...slot, family }
    })
    const unplanned = (device.reported?.slots ?? []).flatMap(({ slot, configuration }): DesiredSlot[] => {
      const family = orderOf(`${device.id}/${slot}`)
      if (family === undefined || planned.some((other) => other.slot === slot)) return []
      return [
        {
          slot,
          family,
          ladder: [{ configuration, rateBps: 0, powerW: 0, utility: 0 }],
          lease: { ttlS: LEASE_TTL_S },
          prices: { lambda: 0, mu: 0 },
        },
      ]
    })
    if (planned.length + unplanned.length === 0) continue
    const telemetryIntervalS = body?.telemetryIntervalS ?? device.desired?.telemetryIntervalS ?? 1
    added.set(device.id, { telemetryIntervalS, slots: [...planned, ...unplanned] })
  }
  return added
}
