import { InvariantError } from '@espalier/shared/errors'
import { compareIds } from '@espalier/shared/ladder/compare-ids'
import { changeSlot } from '../solver/change-slot.ts'
import type { FleetColumns, FleetLimits, FleetWidePrices } from '../solver/columns.ts'
import type { OptionColumns } from '../solver/frontier.ts'
import { readSolution, replaceSlot, type Solved, solveAgain, solveTables } from '../solver/solve-fleet.ts'
import { makeTables } from '../solver/tables.ts'
import { columnsOf } from './choice-columns.ts'
import type { Gateway, Problem, SlotProblem, Solution } from './problem.ts'

/** A slot with its choices in order of id. */
export interface SlotColumns {
  readonly input: Omit<SlotProblem, 'choices'>
  /** The same object as the last time: nothing changed. */
  readonly choices: OptionColumns
}

/** The limits of a problem. */
export type ProblemLimits = Omit<Problem, 'slots'>

/** What of a fleet the tables are made for: all but choices and limits. */
interface Shape {
  readonly slots: readonly SlotColumns[]
  /** Position in `slots` of each of the solver's slots, and back. */
  readonly slotOrder: readonly number[]
  readonly placeOf: Int32Array
  readonly siteIds: readonly string[]
  readonly gatewayIds: readonly string[]
  readonly gateways: ReadonlyMap<string, Gateway>
}

const NO_GATEWAYS: ReadonlyMap<string, Gateway> = new Map()

function orderById<T>(items: readonly T[], id: (item: T) => string): number[] {
  const order = items.map((_, i) => i)
  // Most lists come in order: to see that is ten times as fast as to sort.
  const isSorted = items.every((item, i) => i === 0 || compareIds(id(items[i - 1]!), id(item)) <= 0)
  return isSorted ? order : order.sort((a, b) => compareIds(id(items[a]!), id(items[b]!)))
}

/** Everything in order of id: the plan does not depend on the order in which devices were heard of. */
function toShape(slots: readonly SlotColumns[], gateways: ReadonlyMap<string, Gateway>): Shape {
  const slotOrder = orderById(slots, ({ input }) => input.key)
  const placeOf = new Int32Array(slots.length)
  for (const [k, i] of slotOrder.entries()) placeOf[i] = k
  return {
    slots,
    slotOrder,
    placeOf,
    siteIds: [...new Set(slots.map(({ input }) => input.site))].sort(compareIds),
    gatewayIds: [...gateways.keys()].sort(compareIds),
    gateways,
  }
}

/** Choices of a slot come and go with its estimates: so many more find room, copies of its last one, which change nothing. */
const roomFor = (count: number): number => 16 + Math.ceil(count / 2)

/** @param hasRoom For more choices than slots have now. */
function toColumns({ slots, slotOrder, siteIds }: Shape, hasRoom: boolean): Omit<FleetColumns, 'limits'> {
  const siteAt = new Map(siteIds.map((site, s) => [site, s]))
  const start = new Int32Array(slots.length + 1)
  for (const [k, i] of slotOrder.entries()) {
    const count = slots[i]!.choices.rateBps.length
    start[k + 1] = start[k]! + count + (hasRoom ? roomFor(count) : 0)
  }
  const column = (of: keyof OptionColumns): Float64Array => {
    const all = new Float64Array(start[slots.length]!)
    for (const [k, i] of slotOrder.entries()) {
      const own = slots[i]!.choices[of]
      all.set(own, start[k]!)
      all.fill(own.at(-1)!, start[k]! + own.length, start[k + 1]!)
    }
    return all
  }
  return {
    siteOf: Int32Array.from(slotOrder, (i) => siteAt.get(slots[i]!.input.site)!),
    start,
    rateBps: column('rateBps'),
    powerMw: column('powerMw'),
    utility: column('utility'),
    carbonGPerKwh: Float64Array.from(slotOrder, (i) => slots[i]!.input.carbonGPerKwh ?? 0),
  }
}

function toLimits(limits: ProblemLimits, { siteIds, gatewayIds }: Shape): FleetLimits {
  const { siteRateBps, gateways = NO_GATEWAYS, fleetPowerMw, fleetCarbonUgPerH } = limits
  const siteAt = new Map(siteIds.map((site, s) => [site, s]))
  const gatewayOf = new Int32Array(siteIds.length).fill(-1)
  for (const [g, id] of gatewayIds.entries())
    for (const site of gateways.get(id)!.sites) if (siteAt.has(site)) gatewayOf[siteAt.get(site)!] = g
  return {
    siteRateBps: Float64Array.from(siteIds, (site) => siteRateBps.get(site) ?? Number.POSITIVE_INFINITY),
    gatewayOf,
    gatewayRateBps: Float64Array.from(gatewayIds, (id) => gateways.get(id)!.rateBps),
    powerMw: fleetPowerMw ?? Number.POSITIVE_INFINITY,
    carbonUgPerH: fleetCarbonUgPerH ?? Number.POSITIVE_INFINITY,
  }
}

const isSameGateway = (a: Gateway | undefined, b: Gateway): boolean =>
  a !== undefined && a.sites.length === b.sites.length && a.sites.every((site, i) => site === b.sites[i])

function isSamePlace(a: SlotColumns, b: SlotColumns): boolean {
  if (a === b) return true
  const [one, other] = [a.input, b.input]
  return one.key === other.key && one.site === other.site && (one.carbonGPerKwh ?? 0) === (other.carbonGPerKwh ?? 0)
}

const areSame = (a: Float64Array, b: Float64Array): boolean => a.every((limit, i) => limit === b[i])

/**
 * Solves the problems of one fleet one after the other, each as far as it differs from the one before: tables and scratch
 * space stay, and choices are sorted again only of slots that have others. What it is asked once it answers as `solve()` does.
 */
export class FleetSolver {
  readonly #hasRoom: boolean
  #shape: Shape | undefined
  #solved: Solved | undefined
  /** As the last whole problem began; its own attempts may have tightened them since. */
  #asked: FleetLimits | undefined
  /** A change was given up half way. */
  #isTorn = false

  /** @param hasRoom Slots that later have more choices need no new tables; costs a little the first time. */
  constructor(hasRoom = false) {
    this.#hasRoom = hasRoom
  }

  /** @param warm Prices to start from. */
  solve(slots: readonly SlotColumns[], limits: ProblemLimits, warm?: FleetWidePrices): Solution {
    const before = this.#shape
    const solved = this.#solved
    if (before !== undefined && solved !== undefined && this.#isSameFleet(before, slots, limits)) {
      const shape = { ...before, slots }
      const isReplaced = this.#changedFrom(before, slots).every((i) =>
        replaceSlot(solved, before.placeOf[i]!, slots[i]!.choices),
      )
      if (isReplaced) {
        const again = solveAgain({ ...solved, prices: { ...solved.prices, ...warm } }, toLimits(limits, shape))
        return this.#keep(shape, again, limits)
      }
    }
    const shape = toShape(slots, limits.gateways ?? NO_GATEWAYS)
    // Nothing is remembered of what may throw half way.
    this.#solved = undefined
    const tables = makeTables({ ...toColumns(shape, this.#hasRoom), limits: toLimits(limits, shape) })
    return this.#keep(shape, solveTables(tables, warm), limits)
  }

  /** What a problem of the whole fleet leaves for the next. */
  #keep(shape: Shape, solved: Solved, limits: ProblemLimits): Solution {
    this.#shape = shape
    this.#solved = solved
    this.#asked = solved.tables.limits
    this.#isTorn = false
    return this.#read(limits)
  }

  /**
   * Move only the slots that have other choices, and a neighbour of each, at the prices there are: takes time in proportion
   * to their sites. What the fleet's limits were changed by is taken in; those of rates must be as they were.
   *
   * @param most So many slots at most.
   * @returns Undefined where that is not enough: then `solve()`.
   */
  change(slots: readonly SlotColumns[], limits: ProblemLimits, most: number): Solution | undefined {
    const [before, solved, asked] = [this.#shape, this.#solved, this.#asked]
    if (before === undefined || solved === undefined || asked === undefined) return undefined
    if (this.#isTorn || !solved.isFleetKept || !this.#isSameFleet(before, slots, limits)) return undefined
    const changed = this.#changedFrom(before, slots)
    const now = toLimits(limits, before)
    if (changed.length > most || !areSame(now.siteRateBps, asked.siteRateBps)) return undefined
    if (!areSame(now.gatewayRateBps, asked.gatewayRateBps)) return undefined
    if (Number.isFinite(now.powerMw) !== Number.isFinite(asked.powerMw)) return undefined
    if (Number.isFinite(now.carbonUgPerH) !== Number.isFinite(asked.carbonUgPerH)) return undefined
    this.#isTorn = true
    widenFleet(
      solved,
      Number.isFinite(now.powerMw) ? now.powerMw - asked.powerMw : 0,
      Number.isFinite(now.carbonUgPerH) ? now.carbonUgPerH - asked.carbonUgPerH : 0,
    )
    this.#asked = now
    for (const i of changed)
      if (changeSlot(solved, before.placeOf[i]!, slots[i]!.choices) === undefined) return undefined
    this.#shape = { ...before, slots }
    this.#isTorn = false
    return this.#read(limits)
  }

  /** The same slots under other limits of the same rows, from the prices found last. */
  solveUnder(limits: ProblemLimits): Solution {
    if (this.#solved === undefined || this.#shape === undefined) throw new InvariantError('Nothing was solved yet')
    this.#solved = solveAgain(this.#solved, toLimits(limits, this.#shape))
    return this.#read(limits)
  }

  #isSameFleet({ slots: before, gateways }: Shape, slots: readonly SlotColumns[], limits: ProblemLimits): boolean {
    const { gateways: after = NO_GATEWAYS } = limits
    if (before.length !== slots.length || gateways.size !== after.size) return false
    for (const [id, gateway] of after) if (!isSameGateway(gateways.get(id), gateway)) return false
    for (let i = 0; i < slots.length; i++) if (!isSamePlace(slots[i]!, before[i]!)) return false
    return true
  }

  #changedFrom({ slots: before }: Shape, slots: readonly SlotColumns[]): number[] {
    const changed: number[] = []
    for (let i = 0; i < slots.length; i++) if (slots[i]!.choices !== before[i]!.choices) changed.push(i)
    return changed
  }

  #read(limits: ProblemLimits): Solution {
    const { slots, slotOrder, siteIds, gatewayIds } = this.#shape!
    const { choice, prices, ...solution } = readSolution(this.#solved!)
    const chosen: number[] = new Array(slots.length)
    for (const [k, i] of slotOrder.entries()) chosen[i] = choice[k]!
    const isLimited = (site: string): boolean => limits.siteRateBps.has(site)
    return {
      chosen,
      value: solution.value,
      bound: solution.bound,
      integerBound: solution.integerBound,
      lambda: new Map(siteIds.flatMap((site, s) => (isLimited(site) ? [[site, prices.lambda[s]!] as const] : []))),
      gamma: new Map(gatewayIds.map((id, g) => [id, prices.gamma[g]!] as const)),
      mu: solution.isFleetKept ? prices.mu : 0,
      nu: solution.isFleetKept ? prices.nu : 0,
      infeasibleSites: solution.stuckSites.map((s) => siteIds[s]!),
      infeasibleGateways: solution.stuckGateways.map((g) => gatewayIds[g]!),
      isPowerInfeasible: !solution.isFleetKept,
    }
  }
}

/** At fixed prices the dual function moves with a limit by its price: the bound stays a bound. */
function widenFleet(solved: Solved, morePowerMw: number, moreCarbonUgPerH: number): void {
  const { tables, ledger, prices } = solved
  if (morePowerMw === 0 && moreCarbonUgPerH === 0) return
  const { limits } = tables
  tables.limits = {
    ...limits,
    powerMw: limits.powerMw + morePowerMw,
    carbonUgPerH: limits.carbonUgPerH + moreCarbonUgPerH,
  }
  ledger.powerRoom += morePowerMw
  ledger.carbonRoom += moreCarbonUgPerH
  solved.dual += prices.mu * morePowerMw + prices.nu * moreCarbonUgPerH
  solved.bound = solved.dual
  solved.integerBound = solved.dual
}

/**
 * Choose one configuration for each slot. Pure and deterministic; see the solver's own description.
 *
 * @param warm Prices of the plan before.
 * @see docs/planner.md
 */
export function solve({ slots, ...limits }: Problem, warm?: FleetWidePrices): Solution {
  const orders = slots.map(({ choices }) => orderById(choices, ({ id }) => id))
  const columns = slots.map((input, i) => ({
    input,
    choices: columnsOf(orders[i]!.map((c) => input.choices[c]!)),
  }))
  const solution = new FleetSolver().solve(columns, limits, warm)
  return { ...solution, chosen: solution.chosen.map((c, i) => orders[i]![c]!) }
}
