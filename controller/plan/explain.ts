import { chooseByPrice } from '@espalier/shared/ladder/choose-by-price'
import { formatPower } from '@espalier/shared/units'
import { z } from 'zod'
import type { Row } from './limits.ts'
import type { Option, SlotInput } from './option.ts'
import type { Listed, Prepared } from './prepare.ts'
import { pointName, qualityChange, shownQuality, utilityPerPoint } from './quality.ts'

/** Of the task's measure; a change of it in `instead`. */
const qualityShape = { psnrDb: z.number().optional(), accuracyPct: z.number().optional() }

/** Why a slot runs what it runs. */
export const explanationSchema = z.object({
  chosen: z.string(),
  /** Why it runs though the plan would choose `runnerUp`: a configuration that never ran is tried. */
  probe: z.string().optional(),
  /** What the same prices would choose if the chosen were not there. */
  runnerUp: z.string().optional(),
  /** What the runner-up would change, and what it is worth less at the prices. */
  instead: z.object({ rateBps: z.number(), powerW: z.number(), ...qualityShape, worthLess: z.number() }).optional(),
  /**
   * What keeps the slot from its best configuration: `uplink site:<id>`, `uplink gateway:<id>`, `power fleet`,
   * `carbon fleet`, `device power`, `deadline`, `floor` or `none`.
   */
  binding: z.string(),
  /** All that has a price here, the one above first; absent in decisions from before it was kept. */
  bindings: z.array(z.string()).optional(),
  /** Utility per bit/s here (site and gateway) and per watt here (power, and carbon of this grid): what a device pays. */
  lambda: z.number(),
  mu: z.number(),
  /** What more of the binding constraint would be worth, for people. */
  price: z.string(),
  /** What each limit with a price takes of that, in utility per unit. */
  prices: z.array(z.object({ key: z.string(), unit: z.string(), price: z.number() })).optional(),
  predicted: z.object({ rateBps: z.number(), powerW: z.number(), latencyMs: z.number(), ...qualityShape }),
  /** Utility of the whole plan: what it has, what no plan can exceed, and the relative difference. */
  plan: z.object({ value: z.number(), bound: z.number(), gap: z.number() }),
})
export type Explanation = z.infer<typeof explanationSchema>

/** One limit that holds for a slot, with what one unit of it costs: micro-utility per bit/s, mW or micro-g/h. */
export interface SlotRow {
  readonly key: string
  readonly price: number
  /** Units of it for each bit/s and each mW of the slot. */
  readonly perBps: number
  readonly perMw: number
  /** What the plan leaves of it. */
  readonly slack: number
}

const nameOf = (key: string): string => {
  if (key === 'power' || key === 'carbon') return `${key} fleet`
  return `uplink ${key}`
}

export function free({ total, reserved, planned, margin }: Row): number {
  return Math.max(0, total - reserved - planned - margin)
}

/** What a device pays at these prices, for each bit/s and mW. */
export function slotPrices(rows: readonly SlotRow[]): { lambda: number; mu: number } {
  let [lambda, mu] = [0, 0]
  for (const { price, perBps, perMw } of rows) {
    lambda += price * perBps
    mu += price * perMw
  }
  return { lambda, mu }
}

/** Compare the chosen option with the best one that nothing but the limits forbids. */
function findBinding(
  chosen: Option,
  { allowed, capped }: Listed,
  { lateMerit, isBelowFloor }: Prepared,
  rows: readonly SlotRow[],
): string {
  const wanted = allowed.reduce((a, b) => (b.utility > a.utility ? b : a))
  if (wanted.utility > chosen.utility) {
    const more = { bps: Math.max(0, wanted.rateBps - chosen.rateBps), mw: Math.max(0, wanted.powerMw - chosen.powerMw) }
    const used = ({ perBps, perMw }: SlotRow): number => perBps * more.bps + perMw * more.mw
    const dearest = rows.reduce<SlotRow | undefined>(
      (top, row) => (used(row) * row.price > (top === undefined ? 0 : used(top) * top.price) ? row : top),
      undefined,
    )
    // Without prices only the last step of an integer plan can be missing.
    const full = dearest ?? rows.find((row) => used(row) > row.slack)
    if (full !== undefined) return nameOf(full.key)
  }
  if (capped.some((o) => o.merit > chosen.merit)) return 'device power'
  if (lateMerit > chosen.merit) return 'deadline'
  return isBelowFloor ? 'floor' : 'none'
}

function describePrice(
  binding: string,
  chosen: Option,
  capped: readonly Option[],
  { input }: Prepared,
  rows: readonly SlotRow[],
): string {
  const perPoint = utilityPerPoint(chosen.prediction, chosen.configuration.frameRate, input.birth)
  const worth = (utility: number) =>
    perPoint > 0
      ? `${utility.toPrecision(2)} utility, about ${(utility / perPoint).toFixed(2)} ${pointName(chosen.prediction)} here`
      : `${utility.toPrecision(2)} utility`
  const row = rows.find(({ key }) => nameOf(key) === binding)
  if (row !== undefined) {
    const isUplink = row.perBps > 0
    const name = isUplink ? row.key : 'the fleet'
    // Below its cheapest plan, or within one step of its best, a budget has no price.
    if (row.price === 0) return `more for ${name} would allow a better configuration`
    if (isUplink) return `1 kbit/s more on ${name} is worth ${worth((row.price * 1000) / 1e6)}`
    return row.key === 'power'
      ? `100 mW more for ${name} is worth ${worth((row.price * 100) / 1e6)}`
      : `100 mg/h more carbon for ${name} is worth ${worth((row.price * 1e5) / 1e6)}`
  }
  if (binding === 'device power') {
    const prices = slotPrices(rows)
    const worthOf = (o: Option) => o.utility - prices.lambda * o.rateBps - prices.mu * o.powerMw
    const best = capped.reduce((a, b) => (worthOf(b) > worthOf(a) ? b : a))
    const more = (best.powerMw - chosen.powerMw) / 1000
    return `${formatPower(more)} more for this device would be worth ${worth(Math.max(0, worthOf(best) - worthOf(chosen)) / 1e6)}`
  }
  if (binding === 'deadline') return 'a faster device could run a better configuration; no budget is in the way'
  return 'nothing that is shared is scarce here'
}

function compare(chosen: Option, other: Option, prices: { lambda: number; mu: number }): Explanation['instead'] {
  const more = { rateBps: other.rateBps - chosen.rateBps, powerMw: other.powerMw - chosen.powerMw }
  const worthLess = chosen.utility - other.utility + prices.lambda * more.rateBps + prices.mu * more.powerMw
  return {
    rateBps: more.rateBps,
    powerW: more.powerMw / 1000,
    ...qualityChange(other.prediction, chosen.prediction),
    worthLess: worthLess / 1e6,
  }
}

const unitOf = ({ key, perBps }: SlotRow): { unit: string; scale: number } => {
  if (perBps > 0) return { unit: 'bit/s', scale: 1 }
  return key === 'power' ? { unit: 'W', scale: 1e3 } : { unit: 'g/h', scale: 1e6 }
}

/** Micro-utility: what is worth less by this is not compared further. It is far above what `chooseByPrice()` takes for a tie. */
const NEAR = 1

function findRunnerUp(
  allowed: readonly Option[],
  chosen: Option,
  prices: { lambda: number; mu: number },
): Option | undefined {
  let most = Number.NEGATIVE_INFINITY
  const worth = (o: Option) => o.utility - prices.lambda * o.rateBps - prices.mu * o.powerMw
  for (const option of allowed) if (option.id !== chosen.id) most = Math.max(most, worth(option))
  const near = allowed.filter((option) => option.id !== chosen.id && worth(option) >= most - NEAR)
  return near.length === 0 ? undefined : chooseByPrice(near, prices)
}

/** @param listed Of the slot. @param rows The limits that hold for it, whether or not they have a price. */
export function explain(
  prepared: Prepared,
  listed: Listed,
  chosen: Option,
  rows: readonly SlotRow[],
  plan: Explanation['plan'],
): Explanation {
  const prices = slotPrices(rows)
  const runnerUp = findRunnerUp(listed.allowed, chosen, prices)
  const binding = findBinding(chosen, listed, prepared, rows)
  const priced = rows.filter(({ price }) => price > 0)
  const { rateBps, powerW, latencyS } = chosen.prediction
  return {
    chosen: chosen.id,
    ...(runnerUp === undefined ? {} : { runnerUp: runnerUp.id, instead: compare(chosen, runnerUp, prices) }),
    binding,
    bindings: binding === 'none' ? [] : [...new Set([binding, ...priced.map(({ key }) => nameOf(key))])],
    lambda: prices.lambda / 1e6,
    mu: prices.mu / 1e3,
    price: describePrice(binding, chosen, listed.capped, prepared, rows),
    prices: priced.map((row) => {
      const { unit, scale } = unitOf(row)
      return { key: row.key, unit, price: (row.price * scale) / 1e6 }
    }),
    predicted: { rateBps, powerW, latencyMs: latencyS * 1000, ...shownQuality(chosen.prediction) },
    plan,
  }
}

/** The limits that hold for a slot. @param price, slack Of a row by key; undefined: there is no such row. */
export function rowsOf(
  { site, gateway, carbonGPerKwh }: SlotInput,
  row: (key: string) => { readonly price: number; readonly slack: number } | undefined,
): SlotRow[] {
  const keys: [key: string, perBps: number, perMw: number][] = [
    [`site:${site}`, 1, 0],
    ...(gateway === undefined ? [] : [[`gateway:${gateway}`, 1, 0] as [string, number, number]]),
    ['power', 0, 1],
    ['carbon', 0, carbonGPerKwh ?? 0],
  ]
  return keys.flatMap(([key, perBps, perMw]) => {
    const found = row(key)
    return found === undefined ? [] : [{ key, perBps, perMw, ...found }]
  })
}
