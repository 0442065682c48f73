import type { Option, SlotInput } from './option.ts'

/** A limit, and what of it is not for the plan. */
export interface Limit {
  /** bit/s for a site or gateway, mW for power, micro-g/h (mW times g/kWh) for carbon. */
  readonly total: number
  /** Held by leases of devices that do not answer. */
  readonly reserved: number
  /** Share that is kept free whatever the estimates say; adapted to what was measured. */
  readonly marginShare: number
}

export interface GatewayLimit extends Limit {
  readonly sites: readonly string[]
}

export interface PlanLimits {
  readonly sites: ReadonlyMap<string, Limit>
  readonly gateways?: ReadonlyMap<string, GatewayLimit> | undefined
  readonly power: Limit | undefined
  readonly carbon?: Limit | undefined
}

/** What a limit carries under the plan. Integers. */
export interface Row {
  readonly total: number
  readonly reserved: number
  /** Mean of what is planned. */
  readonly planned: number
  /** Kept free: the larger of the margin share and two standard deviations. */
  readonly margin: number
  /** planned + margin + reserved <= total. */
  readonly isKept: boolean
}

/** What an option takes of a row, how sure that is, and what of it no option changes. */
interface Usage {
  readonly mean: (option: Option, slot: SlotInput) => number
  readonly sigma: (option: Option, slot: SlotInput) => number
  readonly fixed: (slot: SlotInput) => number
}

/** One limit over the slots that it holds for. */
export interface LimitedRow extends Usage {
  /** `site:<id>`, `gateway:<id>`, `power` or `carbon`. */
  readonly key: string
  readonly limit: Limit
  /** Positions of slots. */
  readonly members: readonly number[]
}

const COMMIT_SIGMAS = 2

export const carbonOf = (slot: SlotInput): number => slot.carbonGPerKwh ?? 0
export const baseMw = ({ estimate }: SlotInput): number => estimate.basePower.meanW * 1000

const rates: Usage = { mean: (o) => o.rateBps, sigma: (o) => o.rateSigmaBps, fixed: () => 0 }
const power: Usage = { mean: (o) => o.powerMw, sigma: (o) => o.powerSigmaMw, fixed: baseMw }
const carbon: Usage = {
  mean: (o, slot) => o.powerMw * carbonOf(slot),
  sigma: (o, slot) => o.powerSigmaMw * carbonOf(slot),
  fixed: (slot) => baseMw(slot) * carbonOf(slot),
}

/** All rows: sites, gateways, power, carbon. */
export function listRows(slots: readonly SlotInput[], limits: PlanLimits): LimitedRow[] {
  const bySite = new Map<string, number[]>()
  for (const [i, { site }] of slots.entries()) {
    const members = bySite.get(site)
    if (members === undefined) bySite.set(site, [i])
    else members.push(i)
  }
  const membersOf = (sites: readonly string[]) => sites.flatMap((site) => bySite.get(site) ?? [])
  const all = [...slots.keys()]
  return [
    ...[...limits.sites].map(([site, limit]) => ({ key: `site:${site}`, limit, members: membersOf([site]), ...rates })),
    ...[...(limits.gateways ?? [])].map(([id, limit]) => ({
      key: `gateway:${id}`,
      limit,
      members: membersOf(limit.sites),
      ...rates,
    })),
    ...(limits.power === undefined ? [] : [{ key: 'power', limit: limits.power, members: all, ...power }]),
    ...(limits.carbon === undefined ? [] : [{ key: 'carbon', limit: limits.carbon, members: all, ...carbon }]),
  ]
}

/** What of a limit can be planned: neither the leases of others, nor idle power, nor the share that is kept free. */
export function plannable(row: LimitedRow, slots: readonly SlotInput[]): number {
  const { total, reserved, marginShare } = row.limit
  return Math.max(0, Math.floor(total - reserved - marginShare * movable(row, slots)))
}

/** The margin share applies to what the plan can move: neither idle power nor the leases of others vary with it. */
function movable({ limit, members, fixed }: LimitedRow, slots: readonly SlotInput[]): number {
  return Math.max(0, limit.total - limit.reserved - members.reduce((sum, i) => sum + fixed(slots[i]!), 0))
}

/** Hold a choice against a row. */
export function measureRow(row: LimitedRow, slots: readonly SlotInput[], chosen: readonly Option[]): Row {
  const { members, mean, sigma } = row
  const { total, reserved, marginShare } = row.limit
  let [planned, variance] = [0, 0]
  for (const i of members) {
    planned += mean(chosen[i]!, slots[i]!)
    variance += sigma(chosen[i]!, slots[i]!) ** 2
  }
  const margin = Math.ceil(Math.max(marginShare * movable(row, slots), COMMIT_SIGMAS * Math.sqrt(variance)))
  return { total, reserved, planned, margin, isKept: planned + margin + reserved <= total }
}
