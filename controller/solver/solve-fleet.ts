import type { FleetColumns, FleetLimits, FleetWidePrices, Prices } from './columns.ts'
import { type FleetPrices, findFleetPrices } from './fleet-price.ts'
import type { OptionColumns } from './frontier.ts'
import { Ledger } from './ledger.ts'
import { Relaxer } from './relax.ts'
import { repair } from './repair.ts'
import { SiteSolver } from './site-core.ts'
import { makeTables, moveLimits, replaceOptions, type Tables } from './tables.ts'

/** A fleet that was solved, in sweeping order; what a change of one slot starts from. */
export interface Solved {
  readonly tables: Tables
  readonly relaxer: Relaxer
  readonly siteSolver: SiteSolver
  readonly prices: Prices
  readonly ledger: Ledger
  /** Linear relaxation, micro-utility. */
  bound: number
  /** Lagrangian relaxation over whole choices: at most `bound`. */
  integerBound: number
  /** The relaxation's dual function at `prices`: at least `bound`, and what changes of single slots are added to. */
  dual: number
  readonly isFleetKept: boolean
}

/** Where the prices do not lead to a plan within the fleet's limits, they are raised by these and tried again. */
const RAISES = [1, 1.1, 1.5, 4, 1e3, Number.POSITIVE_INFINITY]

function sitesOf({ cellStart }: Tables, cell: number): readonly [number, number] {
  return [cellStart[cell]!, cellStart[cell + 1]!]
}

/**
 * At the price of a limit whole cells may be torn between two choices that are worth the same (a fleet of equal devices
 * is, all of it). Let as many as fit take the choice that uses more.
 */
function mixSides({ tables, relaxer }: Pick<Solved, 'tables' | 'relaxer'>, { within, over }: FleetPrices): void {
  if (over === undefined) return
  let powerRoom = tables.limits.powerMw - within.powerMw
  let carbonRoom = tables.limits.carbonUgPerH - within.carbonUgPerH
  for (let cell = 0; cell < tables.cellRate.length; cell++) {
    let [power, carbon] = [0, 0]
    const [first, last] = sitesOf(tables, cell)
    for (let s = first; s < last; s++) {
      power += over.sitePower[s]! - within.sitePower[s]!
      carbon += over.siteCarbon[s]! - within.siteCarbon[s]!
    }
    if (power <= 0 || power > powerRoom || carbon > carbonRoom) continue
    relaxer.relaxCell(cell, over.mu, over.nu)
    powerRoom -= power
    carbonRoom -= carbon
  }
}

/** Best whole choices of all sites at the prices, and the bounds that they prove. */
function solveSites(
  { tables, siteSolver }: Pick<Solved, 'tables' | 'siteSolver'>,
  prices: Prices,
  choice: Int32Array,
): { dual: number; integerBound: number } {
  const { limits, siteStart, cellRate, isStuck, rate, power, utility, carbon } = tables
  const { mu, nu } = prices
  let dual = (mu > 0 ? mu * limits.powerMw : 0) + (nu > 0 ? nu * limits.carbonUgPerH : 0)
  let gained = 0
  for (let cell = 0; cell < cellRate.length; cell++) {
    const gamma = prices.gamma[cell]!
    let room = cellRate[cell]!
    const [first, last] = sitesOf(tables, cell)
    for (let s = first; s < last; s++) {
      if (isStuck[s] === 0) {
        const { relaxed, bound } = siteSolver.solve(s, { mu, nu, gamma, lambda: prices.lambda[s]! }, choice)
        dual += relaxed
        gained += relaxed - bound
        continue
      }
      for (let k = siteStart[s]!; k < siteStart[s + 1]!; k++) {
        const point = choice[k]!
        room -= rate[point]!
        dual += utility[point]! - (mu + nu * carbon[k]!) * power[point]!
      }
    }
    if (gamma > 0) dual += gamma * room
  }
  return { dual, integerBound: dual - gained }
}

function raise(price: number, factor: number, limit: number, largest: () => number): number {
  if (limit === Number.POSITIVE_INFINITY) return 0
  return factor === Number.POSITIVE_INFINITY ? largest() : price * factor
}

/** Solve prepared tables. @param warm Fleet prices of a similar fleet. */
export function solveTables(tables: Tables, warm?: FleetWidePrices): Solved {
  return solveWith({ tables, relaxer: new Relaxer(tables), siteSolver: new SiteSolver(tables) }, warm)
}

/**
 * Solve a fleet again under other limits, from the prices of before.
 *
 * @param solved Its tables are changed; it is not to be used any more.
 */
export function solveAgain(solved: Solved, limits: FleetLimits): Solved {
  moveLimits(solved.tables, limits)
  return solveWith(solved, solved.prices)
}

/**
 * Give a slot other options; what is planned for it is then to be found again.
 *
 * @returns False, and nothing changed, if there are more of them than the slot has room for: then the tables must be made anew.
 */
export function replaceSlot({ tables, relaxer }: Solvers, slot: number, options: OptionColumns): boolean {
  if (!replaceOptions(tables, slot, options)) return false
  relaxer.forget(tables.cellOfSite[tables.siteOfPlace[tables.placeOf[slot]!]!]!)
  return true
}

type Solvers = Pick<Solved, 'tables' | 'relaxer' | 'siteSolver'>

function solveWith({ tables, relaxer, siteSolver }: Solvers, warm: FleetWidePrices | undefined): Solved {
  const found = findFleetPrices(tables, relaxer, warm)
  let integerBound = found.bound
  for (let attempt = 0; ; attempt++) {
    const factor = RAISES[attempt]!
    const mu = raise(found.within.mu, factor, tables.limits.powerMw, found.largest)
    const nu = raise(found.within.nu, factor, tables.limits.carbonUgPerH, found.largest)
    relaxer.settleAt(mu, nu)
    const prices = { mu, nu, lambda: relaxer.lambda.slice(), gamma: relaxer.gamma.slice() }
    if (attempt === 0) mixSides({ tables, relaxer }, found)
    const choice = relaxer.taken.slice()
    const bounds = solveSites({ tables, siteSolver }, prices, choice)
    integerBound = Math.min(integerBound, bounds.integerBound)
    const ledger = new Ledger(tables, choice)
    const isFleetKept = repair(tables, siteSolver, prices, ledger, integerBound)
    if (isFleetKept || !found.isFeasible || attempt === RAISES.length - 1)
      return {
        tables,
        relaxer,
        siteSolver,
        prices,
        ledger,
        bound: found.bound,
        integerBound,
        dual: bounds.dual,
        isFleetKept,
      }
  }
}

/** A plan for a fleet, in the columns' order. */
export interface FleetSolution {
  /** Position among its options, of each slot. */
  readonly choice: Int32Array
  /** Micro-utility: of the plan, and the least that no plan can exceed by the relaxation with mixtures and without. */
  readonly value: number
  readonly bound: number
  readonly integerBound: number
  readonly prices: Prices
  readonly powerMw: number
  readonly carbonUgPerH: number
  /** Sites and gateways whose least rates exceed their limit: they get those, and have no price. */
  readonly stuckSites: readonly number[]
  readonly stuckGateways: readonly number[]
  /** Whether the fleet's own limits are kept. */
  readonly isFleetKept: boolean
}

/** Put what was solved back into the columns' order. */
export function readSolution({ tables, prices, ledger, ...rest }: Solved): FleetSolution {
  const { slotAt, siteAt, gatewayAt, option, isStuck, isCellStuck, limits, power, carbon } = tables
  const choice = new Int32Array(slotAt.length)
  const lambda = new Float64Array(siteAt.length)
  const gamma = new Float64Array(limits.gatewayRateBps.length)
  let [powerMw, carbonUgPerH] = [0, 0]
  for (let k = 0; k < slotAt.length; k++) {
    const point = ledger.choice[k]!
    choice[slotAt[k]!] = option[point]!
    powerMw += power[point]!
    carbonUgPerH += power[point]! * carbon[k]!
  }
  for (let s = 0; s < siteAt.length; s++) lambda[siteAt[s]!] = prices.lambda[s]!
  for (let c = 0; c < gatewayAt.length; c++) if (gatewayAt[c]! >= 0) gamma[gatewayAt[c]!] = prices.gamma[c]!
  return {
    choice,
    value: ledger.value,
    bound: rest.bound,
    integerBound: rest.integerBound,
    prices: { mu: prices.mu, nu: prices.nu, lambda, gamma },
    powerMw,
    carbonUgPerH,
    stuckSites: [...siteAt].filter((_, s) => isStuck[s] === 1).sort((a, b) => a - b),
    stuckGateways: [...gatewayAt].filter((gateway, c) => gateway >= 0 && isCellStuck[c] === 1),
    isFleetKept: rest.isFleetKept,
  }
}

/**
 * Choose one option for every slot so that utility is greatest within all limits: nested Lagrangian relaxation, exact
 * choice for each site at the prices, repair between the sites. Pure and deterministic.
 *
 * @param warm Fleet prices of a similar fleet: saves about half of the time.
 * @see docs/planner.md
 */
export function solveFleet(columns: FleetColumns, warm?: FleetWidePrices): FleetSolution {
  return readSolution(solveTables(makeTables(columns), warm))
}
