import type { Rung } from '@espalier/shared/messages/controller'
import { type Explanation, explain } from './explain.ts'
import { makeLadder } from './ladder.ts'
import { allowedOptions, listOptions, type Option, type SlotInput } from './option.ts'
import type { Choice, Problem, Solution } from './problem.ts'
import { solve } from './solve.ts'

/** A limit, and what of it is not for the plan. */
export interface Limit {
  /** bit/s for a site, mW for the fleet. */
  readonly total: number
  /** Held by leases of devices that do not answer. */
  readonly reserved: number
  /** Share that is kept free whatever the estimates say; adapted to what was measured. */
  readonly marginShare: number
}

export interface PlanInput {
  readonly slots: readonly SlotInput[]
  readonly sites: ReadonlyMap<string, Limit>
  readonly power: Limit | undefined
}

/** What a limit carries under the plan. Integers. */
export interface Row {
  readonly total: number
  readonly reserved: number
  /** Mean of what is planned. */
  readonly planned: number
  /** Standard deviation of that, by the estimates. */
  readonly sigma: number
  /** Kept free: the larger of the margin share and two standard deviations. */
  readonly margin: number
  /** planned + margin + reserved <= total. */
  readonly isKept: boolean
}

export interface Alarm {
  readonly kind: 'site-infeasible' | 'power-infeasible' | 'slot-forced'
  /** `site:<id>`, `fleet` or `device/slot`. */
  readonly subject: string
  readonly message: string
}

export interface PlannedSlot {
  readonly input: SlotInput
  readonly chosen: Option
  readonly ladder: readonly Rung[]
  readonly why: Explanation
  readonly lease: { readonly rateBps?: number; readonly powerW?: number }
}

export interface Plan {
  readonly slots: readonly PlannedSlot[]
  readonly sites: ReadonlyMap<string, Row & { readonly lambda: number }>
  readonly power: (Row & { readonly mu: number }) | undefined
  /** Utility; staying bonuses included in all three. */
  readonly value: number
  readonly bound: number
  /** What no plan of whole choices can exceed: at most `bound`. */
  readonly integerBound: number
  /** (bound - value) / bound. */
  readonly gap: number
  readonly alarms: readonly Alarm[]
}

const COMMIT_SIGMAS = 2
const MAX_ATTEMPTS = 8
/** Leases add up to at most this share of a budget: the rest covers frames that are under way. */
const LEASED_SHARE = 0.97

/** What of a slot its limits are kept by: those of the simulator have no family and no birth. */
export interface Plannable {
  readonly input: Pick<SlotInput, 'key' | 'site'> & {
    readonly estimate: { readonly basePower: { readonly meanW: number } }
  }
  readonly allowed: readonly Choice[]
}

interface Prepared extends Plannable {
  readonly input: SlotInput
  readonly options: readonly Option[]
  readonly allowed: readonly Option[]
  readonly isForced: boolean
}

interface Load {
  readonly mean: number
  readonly sigma: number
  /** Part of the mean that no configuration changes. */
  readonly fixed: number
}

function prepare(input: SlotInput): Prepared {
  const options = listOptions(input)
  return { input, options, ...allowedOptions(options) }
}

function loadOf(slots: readonly Plannable[], chosen: readonly Choice[], row: { site: string } | 'power'): Load {
  let [mean, variance, fixed] = [0, 0, 0]
  for (const [i, { input }] of slots.entries()) {
    const option = chosen[i]!
    if (row === 'power') {
      mean += option.powerMw
      variance += option.powerSigmaMw ** 2
      fixed += input.estimate.basePower.meanW * 1000
    } else if (input.site === row.site) {
      mean += option.rateBps
      variance += option.rateSigmaBps ** 2
    }
  }
  return { mean, sigma: Math.sqrt(variance), fixed }
}

/** The margin share applies to what the plan can move: neither idle power nor the leases of others vary with it. */
function marginOf(limit: Limit, load: Load): number {
  const movable = Math.max(0, limit.total - limit.reserved - load.fixed)
  return Math.ceil(Math.max(limit.marginShare * movable, COMMIT_SIGMAS * load.sigma))
}

function rowOf(limit: Limit, load: Load): Row {
  const margin = marginOf(limit, load)
  return {
    total: limit.total,
    reserved: limit.reserved,
    planned: load.mean,
    sigma: load.sigma,
    margin,
    isKept: load.mean + margin + limit.reserved <= limit.total,
  }
}

/** Solve, look at how uncertain the answer is, tighten the rows that would not hold, and solve again. */
export function solveWithMargins<C extends Choice>(
  slots: readonly (Plannable & { readonly allowed: readonly C[] })[],
  input: Pick<PlanInput, 'sites' | 'power'>,
): { solution: Solution; chosen: C[] } {
  const base = slots.reduce((sum, { input: { estimate } }) => sum + estimate.basePower.meanW * 1000, 0)
  const start = (limit: Limit, fixed: number) =>
    Math.floor(limit.total - limit.reserved - limit.marginShare * Math.max(0, limit.total - limit.reserved - fixed))
  const siteRateBps = new Map([...input.sites].map(([site, limit]) => [site, Math.max(0, start(limit, 0))]))
  let fleetPowerMw = input.power && Math.max(0, start(input.power, base))
  for (let attempt = 1; ; attempt++) {
    const problem: Problem = {
      slots: slots.map(({ input: { key, site }, allowed }) => ({ key, site, choices: allowed })),
      siteRateBps,
      fleetPowerMw,
    }
    const solution = solve(problem)
    const chosen = solution.chosen.map((c, i) => slots[i]!.allowed[c]!)
    let isKept = true
    // Each attempt tightens a little more than was missing, so that this ends.
    const extra = 1 + 0.02 * attempt
    for (const [site, limit] of input.sites) {
      const row = rowOf(limit, loadOf(slots, chosen, { site }))
      if (row.isKept || solution.infeasibleSites.includes(site)) continue
      isKept = false
      const capacity = Math.floor(limit.total - limit.reserved - extra * row.margin)
      siteRateBps.set(site, Math.max(0, Math.min(capacity, row.planned - 1)))
    }
    if (input.power !== undefined && !solution.isPowerInfeasible) {
      const row = rowOf(input.power, loadOf(slots, chosen, 'power'))
      if (!row.isKept) {
        isKept = false
        const capacity = Math.floor(input.power.total - input.power.reserved - extra * row.margin)
        fleetPowerMw = Math.max(0, Math.min(capacity, row.planned - 1))
      }
    }
    if (isKept || attempt === MAX_ATTEMPTS) return { solution, chosen }
  }
}

/**
 * Divide what a row may carry in proportion to what is planned on it.
 *
 * @param fixed Parts that are not shared out: each keeps its own.
 */
function divide(total: number, planned: readonly number[], fixed: readonly number[]): number[] {
  const allFixed = fixed.reduce((a, b) => a + b, 0)
  const movable = planned.map((p, i) => Math.max(0, p - fixed[i]!))
  const allMovable = movable.reduce((a, b) => a + b, 0)
  const rest = Math.max(0, LEASED_SHARE * (total - allFixed))
  // Below the fixed parts even they must shrink.
  const scale = Math.min(1, total / Math.max(1, allFixed))
  return planned.map((_, i) => {
    const share = allMovable > 0 ? movable[i]! / allMovable : 1 / planned.length
    return Math.floor(scale * fixed[i]! + share * rest)
  })
}

function leases(slots: readonly Prepared[], chosen: readonly Option[], input: PlanInput): PlannedSlot['lease'][] {
  const rates = new Map<number, number>()
  for (const [site, { total, reserved }] of input.sites) {
    const members = [...slots.keys()].filter((i) => slots[i]!.input.site === site)
    const parts = divide(
      Math.max(0, total - reserved / LEASED_SHARE),
      members.map((i) => chosen[i]!.rateBps),
      members.map(() => 0),
    )
    for (const [k, i] of members.entries()) rates.set(i, parts[k]!)
  }
  const powers =
    input.power &&
    divide(
      Math.max(0, input.power.total - input.power.reserved),
      chosen.map((o) => o.powerMw),
      slots.map((s) => s.input.estimate.basePower.meanW * 1000),
    )
  return slots.map((_, i) => {
    const rateBps = rates.get(i)
    return {
      ...(rateBps === undefined ? {} : { rateBps }),
      ...(powers === undefined ? {} : { powerW: powers[i]! / 1000 }),
    }
  })
}

function listAlarms(slots: readonly Prepared[], solution: Solution, input: PlanInput, rows: Plan['sites']): Alarm[] {
  const alarms: Alarm[] = slots
    .filter(({ isForced }) => isForced)
    .map(({ input: { key } }) => ({
      kind: 'slot-forced',
      subject: key,
      message: `Cannot keep the deadline and floor of "${key}": no configuration does, the fastest runs`,
    }))
  const populated = new Set(slots.map(({ input: { site } }) => site))
  for (const [site, row] of rows) {
    if (!populated.has(site)) continue
    if (solution.infeasibleSites.includes(site) || !row.isKept)
      alarms.push({
        kind: 'site-infeasible',
        subject: `site:${site}`,
        message: `Cannot keep the uplink of "site:${site}": the cheapest configurations need ${row.planned} bit/s and a margin of ${row.margin}, expected at most ${row.total - row.reserved}`,
      })
  }
  if (input.power !== undefined && slots.length > 0) {
    const row = rowOf(
      input.power,
      loadOf(
        slots,
        solution.chosen.map((c, i) => slots[i]!.allowed[c]!),
        'power',
      ),
    )
    if (solution.isPowerInfeasible || !row.isKept)
      alarms.push({
        kind: 'power-infeasible',
        subject: 'fleet',
        message: `Cannot keep the power of "fleet": the cheapest configurations need ${row.planned} mW and a margin of ${row.margin}, expected at most ${row.total - row.reserved}`,
      })
  }
  return alarms
}

/**
 * Choose one configuration for every slot. Pure and deterministic: equal inputs give equal plans.
 *
 * A limit that even the cheapest configurations exceed gives those and an alarm; all other limits are kept with
 * their margin, on integers.
 */
export function planFleet(input: PlanInput): Plan {
  const slots = input.slots.map(prepare)
  const { solution, chosen } = solveWithMargins(slots, input)
  const value = solution.value / 1e6
  const bound = Math.max(solution.bound / 1e6, value)
  const totals = { value, bound, gap: bound > 0 ? (bound - value) / bound : 0 }
  const sites = new Map(
    [...input.sites].map(([site, limit]) => {
      const row = rowOf(limit, loadOf(slots, chosen, { site }))
      return [site, { ...row, lambda: (solution.lambda.get(site) ?? 0) / 1e6 }] as const
    }),
  )
  const powerRow = input.power && rowOf(input.power, loadOf(slots, chosen, 'power'))
  const slackMw = powerRow === undefined ? Number.POSITIVE_INFINITY : free(powerRow)
  const leased = leases(slots, chosen, input)
  const planned = slots.map(({ input: slot, options, allowed }, i): PlannedSlot => {
    const option = chosen[i]!
    const row = sites.get(slot.site)
    const prices = { lambda: solution.lambda.get(slot.site) ?? 0, mu: solution.mu }
    const room = { slackBps: row === undefined ? Number.POSITIVE_INFINITY : free(row), slackMw }
    return {
      input: slot,
      chosen: option,
      ladder: makeLadder(option, allowed),
      why: explain(slot, option, options, allowed, prices, room, totals),
      lease: leased[i]!,
    }
  })
  return {
    slots: planned,
    sites,
    power: powerRow && { ...powerRow, mu: solution.mu / 1e3 },
    ...totals,
    integerBound: Math.min(bound, Math.max(solution.integerBound / 1e6, value)),
    alarms: listAlarms(slots, solution, input, sites),
  }
}

function free({ total, reserved, planned, margin }: Row): number {
  return Math.max(0, total - reserved - planned - margin)
}
