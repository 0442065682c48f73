import type { OptionColumns } from '../solver/frontier.ts'
import { columnsOf } from './choice-columns.ts'
import type { Choice } from './problem.ts'

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

/** What limits are kept by of a slot: those of the simulator have no family and no birth. */
export interface PlacedSlot {
  /** `device/slot`. */
  readonly key: string
  readonly site: string
  readonly carbonGPerKwh?: number | undefined
  readonly estimate: { readonly basePower: { readonly meanW: number } }
}

/** A slot with what may be chosen for it. */
export interface Plannable<C extends Choice = Choice> {
  readonly input: PlacedSlot
  /** In order of id; at least one. */
  readonly choices: OptionColumns
  /** @param choice Position in `choices`. */
  optionAt(choice: number): C
}

/** @param allowed In order of id; at least one. */
export function toPlannable<C extends Choice>(input: PlacedSlot, allowed: readonly C[]): Plannable<C> {
  return { input, choices: columnsOf(allowed), optionAt: (choice) => allowed[choice]! }
}

/** What a limit carries under the plan. Integers. */
export interface Row {
  readonly total: number
  readonly reserved: number
  /** Mean of what is planned. */
  readonly planned: number
  /** Standard deviation of that, by the estimates. */
  readonly sigma: number
  /** Of the planned, what no choice changes. */
  readonly fixed: number
  /** Kept free: the larger of the margin share and two standard deviations. */
  readonly margin: number
  /** planned + margin + reserved <= total. */
  readonly isKept: boolean
}

/** What a choice takes of a row, how sure that is, and what of it no choice changes. */
interface Usage {
  readonly mean: (choice: Choice, slot: PlacedSlot) => number
  readonly sigma: (choice: Choice, slot: PlacedSlot) => number
  readonly fixed: (slot: PlacedSlot) => number
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

export const carbonOf = (slot: PlacedSlot): number => slot.carbonGPerKwh ?? 0
export const baseMw = ({ estimate }: PlacedSlot): number => estimate.basePower.meanW * 1000

const rates: Usage = { mean: (o) => o.rateBps, sigma: (o) => o.rateSigmaBps, fixed: () => 0 }
const power: Usage = { mean: (o) => o.powerMw, sigma: (o) => o.powerSigmaMw, fixed: baseMw }
const carbon: Usage = {
  mean: (o, slot) => o.powerMw * carbonOf(slot),
  sigma: (o, slot) => o.powerSigmaMw * carbonOf(slot),
  fixed: (slot) => baseMw(slot) * carbonOf(slot),
}

/** All rows: sites, gateways, power, carbon. */
export function listRows(slots: readonly PlacedSlot[], limits: PlanLimits): LimitedRow[] {
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
export function plannable(row: LimitedRow, slots: readonly PlacedSlot[]): number {
  const { total, reserved, marginShare } = row.limit
  return Math.max(0, Math.floor(total - reserved - marginShare * movable(row, fixedOf(row, slots))))
}

/** The margin share applies to what the plan can move: neither idle power nor the leases of others vary with it. */
function movable({ limit }: LimitedRow, fixed: number): number {
  return Math.max(0, limit.total - limit.reserved - fixed)
}

const fixedOf = ({ members, fixed }: LimitedRow, slots: readonly PlacedSlot[]): number =>
  members.reduce((sum, i) => sum + fixed(slots[i]!), 0)

/** Hold a choice against a row. */
export function measureRow(row: LimitedRow, slots: readonly PlacedSlot[], chosen: readonly Choice[]): Row {
  const { members, mean, sigma: sigmaOf } = row
  const { total, reserved, marginShare } = row.limit
  let [planned, variance] = [0, 0]
  for (const i of members) {
    planned += mean(chosen[i]!, slots[i]!)
    variance += sigmaOf(chosen[i]!, slots[i]!) ** 2
  }
  const sigma = Math.sqrt(variance)
  const fixed = fixedOf(row, slots)
  const margin = Math.ceil(Math.max(marginShare * movable(row, fixed), COMMIT_SIGMAS * sigma))
  return { total, reserved, planned, sigma, fixed, margin, isKept: planned + margin + reserved <= total }
}
