import type { RowReading } from '../estimate/row-margin.ts'
import type { PlanLimits, Row } from '../plan/limits.ts'

/** What a device that is planned does now. */
export interface DeviceLoad {
  readonly site: string
  /** Of the grid that feeds its site, whole g/kWh. */
  readonly carbonGPerKwh: number
  readonly rateBps: number
  readonly powerW: number
  /** Of the power, what slots draw that no plan moves. */
  readonly unplannedW: number
}

/** What a limit carries of a device, and what of that no plan moves; in the planner's integers. */
interface Use {
  readonly used: (load: DeviceLoad) => number
  readonly unplanned: (load: DeviceLoad) => number
}

const rates: Use = { used: ({ rateBps }) => rateBps, unplanned: () => 0 }
const power: Use = { used: ({ powerW }) => powerW * 1000, unplanned: ({ unplannedW }) => unplannedW * 1000 }
const carbon: Use = {
  used: ({ powerW, carbonGPerKwh }) => powerW * 1000 * carbonGPerKwh,
  unplanned: ({ unplannedW, carbonGPerKwh }) => unplannedW * 1000 * carbonGPerKwh,
}

/**
 * Hold what was measured against what was planned, for each shared limit.
 *
 * @param planned What each limit was planned to carry, by key.
 * @param limits Those that it was planned under.
 */
export function readLimits(
  planned: ReadonlyMap<string, Row>,
  limits: PlanLimits,
  loads: readonly DeviceLoad[],
): { readonly key: string; readonly reading: RowReading }[] {
  const bySite = new Map<string, DeviceLoad[]>()
  for (const load of loads) {
    const members = bySite.get(load.site)
    if (members === undefined) bySite.set(load.site, [load])
    else members.push(load)
  }
  const membersOf = (kind: string, id: string): readonly DeviceLoad[] => {
    if (kind === 'site') return bySite.get(id) ?? []
    const sites = limits.gateways?.get(id)?.sites ?? []
    return sites.flatMap((site) => bySite.get(site) ?? [])
  }
  return [...planned].map(([key, row]) => {
    const at = key.indexOf(':')
    const isRate = at >= 0
    const { used, unplanned } = isRate ? rates : key === 'power' ? power : carbon
    const members = isRate ? membersOf(key.slice(0, at), key.slice(at + 1)) : loads
    const sum = (of: (load: DeviceLoad) => number): number => members.reduce((total, load) => total + of(load), 0)
    const [all, others] = [sum(used), sum(unplanned)]
    const movable = Math.max(1, row.total - row.fixed - others)
    const reading = {
      miss: (all - row.planned - others) / movable,
      isViolated: all > row.total,
      predicted: (row.sigma / movable) ** 2,
    }
    return { key, reading }
  })
}
