import type { DeviceId } from '@espalier/shared/ids'
import { LEASED_SHARE } from '../plan/leases.ts'
import type { PlanLimits } from '../plan/limits.ts'

/** A device with the leases that it has now, and those that it would get. */
export interface Leased {
  readonly id: DeviceId
  readonly site: string
  readonly carbonGPerKwh: number
  readonly kept: { readonly rateBps: number; readonly powerW: number }
  readonly planned: { readonly rateBps: number; readonly powerW: number }
}

/** Add to `changed` the devices whose leases must be sent so that all leases of a row, sent or kept, stay within it. */
export function widen(changed: Set<DeviceId>, devices: readonly Leased[], limits: PlanLimits): void {
  const widenRow = (
    members: readonly Leased[],
    of: (lease: Leased['kept'], d: Leased) => number,
    limit: number,
  ): void => {
    const held = members.reduce((sum, d) => sum + of(changed.has(d.id) ? d.planned : d.kept, d), 0)
    if (held > limit) for (const { id } of members) changed.add(id)
  }
  const bySite = new Map<string, Leased[]>()
  for (const device of devices) {
    const members = bySite.get(device.site)
    if (members === undefined) bySite.set(device.site, [device])
    else members.push(device)
  }
  const rate = (lease: Leased['kept']) => lease.rateBps
  for (const [site, { total, reserved }] of limits.sites)
    widenRow(bySite.get(site) ?? [], rate, LEASED_SHARE * total - reserved)
  for (const { sites, total, reserved } of limits.gateways?.values() ?? [])
    widenRow(
      sites.flatMap((site) => bySite.get(site) ?? []),
      rate,
      LEASED_SHARE * total - reserved,
    )
  const { power, carbon } = limits
  if (power !== undefined) widenRow(devices, (lease) => lease.powerW * 1000, power.total - power.reserved)
  if (carbon !== undefined)
    widenRow(devices, (lease, d) => lease.powerW * 1000 * d.carbonGPerKwh, carbon.total - carbon.reserved)
}
