import type { Rung } from '@espalier/shared/messages/controller'
import type { FleetWidePrices } from '../solver/columns.ts'
import { type Alarm, listAlarms } from './alarms.ts'
import { type Explanation, explain, free, rowsOf, type SlotRow, slotPrices } from './explain.ts'
import { makeLadder } from './ladder.ts'
import { divideLeases, type Lease } from './leases.ts'
import {
  type LimitedRow,
  listRows,
  measureRow,
  type PlanLimits,
  type Plannable,
  plannable,
  type Row,
} from './limits.ts'
import type { Option, SlotInput } from './option.ts'
import { type Prepared, prepareSlot } from './prepare.ts'
import { type PricedRow, priceRow } from './price-text.ts'
import type { Choice, Solution } from './problem.ts'
import { FleetSolver, type ProblemLimits } from './solve.ts'

export type { Alarm } from './alarms.ts'
export type { Limit, Row } from './limits.ts'

export interface PlanInput extends PlanLimits {
  readonly slots: readonly SlotInput[]
}

export interface PlannedSlot {
  readonly input: SlotInput
  readonly chosen: Option
  readonly lease: Lease
  /** What it may run, without what another option beats in all that counts. */
  readonly allowed: readonly Option[]
  /** What the device pays: utility per bit/s and per W. */
  readonly prices: { readonly lambda: number; readonly mu: number }
  /** Worked out when it is first asked for, as `why` is: most slots of a large fleet are never asked. */
  readonly ladder: readonly Rung[]
  readonly why: Explanation
}

/** What slots of one site and grid have in common. */
interface Place {
  readonly rows: readonly SlotRow[]
  readonly prices: PlannedSlot['prices']
}

class LazySlot implements PlannedSlot {
  readonly input: SlotInput
  readonly chosen: Option
  readonly lease: Lease
  readonly prices: PlannedSlot['prices']
  readonly #prepared: Prepared
  readonly #rows: readonly SlotRow[]
  readonly #plan: Explanation['plan']
  #ladder: readonly Rung[] | undefined
  #why: Explanation | undefined

  constructor(prepared: Prepared, chosen: Option, lease: Lease, place: Place, plan: Explanation['plan']) {
    this.input = prepared.input
    this.chosen = chosen
    this.lease = lease
    this.prices = place.prices
    this.#prepared = prepared
    this.#rows = place.rows
    this.#plan = plan
  }

  get allowed(): readonly Option[] {
    return this.#prepared.list().allowed
  }

  get ladder(): readonly Rung[] {
    this.#ladder ??= makeLadder(this.chosen, this.allowed)
    return this.#ladder
  }

  get why(): Explanation {
    this.#why ??= explain(this.#prepared, this.#prepared.list(), this.chosen, this.#rows, this.#plan)
    return this.#why
  }
}

/** What was chosen, what it takes, and what more would be worth. */
export interface Choices {
  readonly chosen: readonly Option[]
  /** Sites, gateways, power, carbon, then devices with a limit of their own. */
  readonly rows: readonly PricedRow[]
  /** Utility; staying bonuses included in all three. */
  readonly value: number
  readonly bound: number
  /** What no plan of whole choices can exceed: at most `bound`. */
  readonly integerBound: number
  /** (bound - value) / bound. */
  readonly gap: number
  readonly alarms: readonly Alarm[]
  /** Where the next plan may begin to look for prices. */
  readonly prices: FleetWidePrices
  /** Every slot was looked at, not only those that changed. */
  readonly isWhole: boolean
}

export interface Plan extends Omit<Choices, 'chosen'> {
  readonly slots: readonly PlannedSlot[]
  /** What every shared limit carries, in the planner's integers, by key: `site:<id>`, `gateway:<id>`, `power`, `carbon`. */
  readonly loads: ReadonlyMap<string, Row>
  readonly sites: ReadonlyMap<string, Row & { readonly lambda: number }>
  readonly power: (Row & { readonly mu: number }) | undefined
}

const MAX_ATTEMPTS = 8

/** A limit with what the choice takes of it. */
export type MeasuredRow = LimitedRow & { readonly row: Row }
type Measured = MeasuredRow & { readonly price: number }

function toProblemLimits(limits: PlanLimits, capacity: ReadonlyMap<string, number>): ProblemLimits {
  const of = (key: string): number => capacity.get(key)!
  return {
    siteRateBps: new Map([...limits.sites.keys()].map((site) => [site, of(`site:${site}`)])),
    gateways: new Map(
      [...(limits.gateways ?? [])].map(([id, { sites }]) => [id, { rateBps: of(`gateway:${id}`), sites }]),
    ),
    fleetPowerMw: limits.power && of('power'),
    fleetCarbonUgPerH: limits.carbon && of('carbon'),
  }
}

function isInfeasible(key: string, solution: Solution): boolean {
  const [kind, id] = key.split(':')
  if (kind === 'site') return solution.infeasibleSites.includes(id!)
  return kind === 'gateway' ? solution.infeasibleGateways.includes(id!) : solution.isPowerInfeasible
}

/**
 * Solve, look at how uncertain the answer is, tighten the rows that would not hold, and solve again.
 *
 * @param solver Of the fleet, with the tables of the plan before.
 */
export function solveWithMargins<C extends Choice>(
  slots: readonly Plannable<C>[],
  limits: PlanLimits,
  warm?: FleetWidePrices,
  solver = new FleetSolver(),
): { solution: Solution; chosen: C[]; rows: readonly MeasuredRow[] } {
  const inputs = slots.map(({ input }) => input)
  const rows = listRows(inputs, limits)
  const capacity = new Map(rows.map((row) => [row.key, plannable(row, inputs)]))
  let solution = solver.solve(slots, toProblemLimits(limits, capacity), warm)
  for (let attempt = 1; ; attempt++) {
    const chosen = solution.chosen.map((c, i) => slots[i]!.optionAt(c))
    let isKept = true
    // Each attempt tightens a little more than was missing, so that this ends.
    const extra = 1 + 0.02 * attempt
    const measured = rows.map((row) => ({ ...row, row: measureRow(row, inputs, chosen) }))
    for (const { key, row } of measured) {
      if (row.isKept || isInfeasible(key, solution)) continue
      isKept = false
      const { total, reserved, margin, planned } = row
      capacity.set(key, Math.max(0, Math.min(Math.floor(total - reserved - extra * margin), planned - 1)))
    }
    if (isKept || attempt === MAX_ATTEMPTS) return { solution, chosen, rows: measured }
    solution = solver.solveUnder(toProblemLimits(limits, capacity))
  }
}

/** So many slots at most move alone. */
const MOST_CHANGED = 32
/** By so much more than after the last whole plan a plan may lie below its bound. */
const MOST_GAP_MORE = 0.001

/**
 * The plan of before where only slots that were heard of, and a neighbour of each, move.
 *
 * @param wholeGap Of the last whole plan.
 * @returns Undefined where that does not keep every limit, or is too far from the bound: then `solveWithMargins()`.
 */
function changeWithMargins<C extends Choice>(
  slots: readonly Plannable<C>[],
  limits: PlanLimits,
  solver: FleetSolver,
  wholeGap: number,
): ReturnType<typeof solveWithMargins<C>> | undefined {
  const inputs = slots.map(({ input }) => input)
  const rows = listRows(inputs, limits)
  const capacity = new Map(rows.map((row) => [row.key, plannable(row, inputs)]))
  const solution = solver.change(slots, toProblemLimits(limits, capacity), MOST_CHANGED)
  if (solution === undefined) return undefined
  const { bound, value } = solution
  if (bound > 0 && (bound - value) / bound > wholeGap + MOST_GAP_MORE) return undefined
  const chosen = solution.chosen.map((c, i) => slots[i]!.optionAt(c))
  const measured = rows.map((row) => ({ ...row, row: measureRow(row, inputs, chosen) }))
  if (measured.some(({ key, row }) => !row.isKept && !isInfeasible(key, solution))) return undefined
  return { solution, chosen, rows: measured }
}

function priceOf(key: string, { lambda, gamma, mu, nu }: Solution): number {
  const [kind, id] = key.split(':')
  if (kind === 'site') return lambda.get(id!) ?? 0
  if (kind === 'gateway') return gamma.get(id!) ?? 0
  return kind === 'power' ? mu : nu
}

/** What a device with a limit of its own is planned to draw: its slots keep their parts of it, so it has no price. */
function deviceRows(inputs: readonly SlotInput[], chosen: readonly Option[]): PricedRow[] {
  const devices = new Map<string, { limit: number; planned: number }>()
  for (const [i, { key, maxPowerW }] of inputs.entries()) {
    if (maxPowerW === undefined) continue
    const device = key.split('/')[0]!
    const { limit, planned } = devices.get(device) ?? { limit: 0, planned: 0 }
    devices.set(device, { limit: limit + maxPowerW, planned: planned + chosen[i]!.powerMw / 1000 })
  }
  return [...devices].map(([device, { limit, planned }]) => ({
    key: `device:${device}`,
    unit: 'W',
    limit,
    reserved: 0,
    planned,
    margin: 0,
    isKept: planned <= limit + 1e-3,
    price: 0,
    worth: `"espalier why ${device}" says what more would be worth`,
  }))
}

export interface PlanAgain {
  /** Keeps what the next plan of the same fleet can use. */
  readonly solver?: FleetSolver
  /**
   * Gap of the last whole plan: where few slots changed since the plan before, only they are planned. Absent: all are.
   */
  readonly wholeGap?: number | undefined
}

interface Chosen {
  readonly choices: Choices
  readonly measured: readonly Measured[]
}

function choose(
  slots: readonly Prepared[],
  limits: PlanLimits,
  warm: FleetWidePrices | undefined,
  { solver, wholeGap }: PlanAgain = {},
): Chosen {
  const inputs = slots.map(({ input }) => input)
  const changed =
    solver === undefined || wholeGap === undefined ? undefined : changeWithMargins(slots, limits, solver, wholeGap)
  const { solution, chosen, rows } = changed ?? solveWithMargins(slots, limits, warm, solver)
  const measured = rows.map((row) => ({ ...row, price: priceOf(row.key, solution) }))
  // A slot that has the best that it may run gains nothing from more of anything.
  const isHeld = (i: number): boolean => slots[i]!.mostUtility > chosen[i]!.utility
  const value = solution.value / 1e6
  const bound = Math.max(solution.bound / 1e6, value)
  const choices = {
    chosen,
    rows: [...measured.map((m) => priceRow(m, m.row, m.price, inputs, chosen, isHeld)), ...deviceRows(inputs, chosen)],
    value,
    bound,
    integerBound: Math.min(bound, Math.max(solution.integerBound / 1e6, value)),
    gap: bound > 0 ? (bound - value) / bound : 0,
    alarms: listAlarms(
      slots,
      measured
        .filter(({ members }) => members.length > 0)
        .map(({ key, row }) => ({ key, row, isInfeasible: isInfeasible(key, solution) })),
    ),
    prices: { mu: solution.mu, nu: solution.nu },
    isWhole: changed === undefined,
  }
  return { choices, measured }
}

/** The choice alone, without ladders, leases and reasons: enough to know what would change. */
export function choosePlan(slots: readonly Prepared[], limits: PlanLimits, warm?: FleetWidePrices): Choices {
  return choose(slots, limits, warm).choices
}

/** Places are few: what they have in common is worked out once for each. */
function listPlaces(row: Parameters<typeof rowsOf>[1]): (input: SlotInput) => Place {
  const bySite = new Map<string, { input: SlotInput; place: Place }>()
  return (input) => {
    const known = bySite.get(input.site)
    const isSame = known?.input.gateway === input.gateway && known?.input.carbonGPerKwh === input.carbonGPerKwh
    if (known !== undefined && isSame) return known.place
    const rows = rowsOf(input, row)
    const { lambda, mu } = slotPrices(rows)
    const place = { rows, prices: { lambda: lambda / 1e6, mu: mu / 1e3 } }
    bySite.set(input.site, { input, place })
    return place
  }
}

/** @see planFleet */
export function planPrepared(
  slots: readonly Prepared[],
  limits: PlanLimits,
  warm?: FleetWidePrices,
  again?: PlanAgain,
): Plan {
  const { choices, measured } = choose(slots, limits, warm, again)
  const { chosen, ...totals } = choices
  const totalsOfPlan = { value: choices.value, bound: choices.bound, gap: choices.gap }
  const byKey = new Map(measured.map(({ key, row, price }) => [key, { row, price, slack: free(row) }]))
  const leases = divideLeases(
    measured,
    slots.map(({ input }) => input),
    chosen,
  )
  const power = byKey.get('power')
  const placeOf = listPlaces((key) => byKey.get(key))
  return {
    ...totals,
    slots: slots.map(
      (prepared, i) => new LazySlot(prepared, chosen[i]!, leases[i]!, placeOf(prepared.input), totalsOfPlan),
    ),
    loads: new Map(measured.map(({ key, row }) => [key, row])),
    sites: new Map(
      [...limits.sites.keys()].map((site) => {
        const { row, price } = byKey.get(`site:${site}`)!
        return [site, { ...row, lambda: price / 1e6 }]
      }),
    ),
    power: power && { ...power.row, mu: power.price / 1e3 },
  }
}

/**
 * Choose one configuration for every slot. Pure and deterministic: equal inputs give equal plans.
 *
 * A limit that even the cheapest configurations exceed gives those and an alarm; all other limits are kept with
 * their margin, on integers.
 *
 * @param warm Prices of the plan before.
 */
export function planFleet({ slots, ...limits }: PlanInput, warm?: FleetWidePrices): Plan {
  return planPrepared(slots.map(prepareSlot), limits, warm)
}
