import { compareIds } from '@espalier/shared/ladder/compare-ids'
import type { FleetColumns, FleetLimits, FleetWidePrices } from '../solver/columns.ts'
import { type FleetSolution, readSolution, type Solved, solveAgain, solveTables } from '../solver/solve-fleet.ts'
import { makeTables } from '../solver/tables.ts'
import type { Gateway, Problem, Solution } from './problem.ts'

interface Columns extends Omit<FleetColumns, 'limits'> {
  /** Position in the problem of each column's slot. */
  readonly slotOrder: readonly number[]
  /** For each column's slot, position in its `choices` of each option. */
  readonly optionOrder: readonly (readonly number[])[]
  readonly siteIds: readonly string[]
  readonly gatewayIds: readonly string[]
}

function orderById<T>(items: readonly T[], id: (item: T) => string): number[] {
  const order = items.map((_, i) => i)
  // Most lists come in order: to see that is ten times as fast as to sort.
  const isSorted = items.every((item, i) => i === 0 || compareIds(id(items[i - 1]!), id(item)) <= 0)
  return isSorted ? order : order.sort((a, b) => compareIds(id(items[a]!), id(items[b]!)))
}

/** Everything in order of id: the plan does not depend on the order in which devices were heard of. */
function toColumns(problem: Problem): Columns {
  const { slots, gateways = new Map<string, Gateway>() } = problem
  const slotOrder = orderById(slots, ({ key }) => key)
  const siteIds = [...new Set(slots.map(({ site }) => site))].sort(compareIds)
  const gatewayIds = [...gateways.keys()].sort(compareIds)
  const siteAt = new Map(siteIds.map((site, s) => [site, s]))
  const optionOrder = slotOrder.map((i) => orderById(slots[i]!.choices, ({ id }) => id))
  const start = new Int32Array(slots.length + 1)
  for (const [k, options] of optionOrder.entries()) start[k + 1] = start[k]! + options.length
  const column = (): Float64Array => new Float64Array(start[slots.length]!)
  const [rateBps, powerMw, utility] = [column(), column(), column()]
  for (const [k, options] of optionOrder.entries())
    for (const [j, at] of options.entries()) {
      const choice = slots[slotOrder[k]!]!.choices[at]!
      rateBps[start[k]! + j] = choice.rateBps
      powerMw[start[k]! + j] = choice.powerMw
      utility[start[k]! + j] = choice.utility
    }
  return {
    slotOrder,
    optionOrder,
    siteIds,
    gatewayIds,
    siteOf: Int32Array.from(slotOrder, (i) => siteAt.get(slots[i]!.site)!),
    start,
    rateBps,
    powerMw,
    utility,
    carbonGPerKwh: Float64Array.from(slotOrder, (i) => slots[i]!.carbonGPerKwh ?? 0),
  }
}

function toLimits(problem: Problem, { siteIds, gatewayIds }: Columns): FleetLimits {
  const { siteRateBps, gateways = new Map<string, Gateway>(), fleetPowerMw, fleetCarbonUgPerH } = problem
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

function toSolution(problem: Problem, columns: Columns, { choice, prices, ...solution }: FleetSolution): Solution {
  const { siteIds, gatewayIds } = columns
  const chosen: number[] = Array.from({ length: problem.slots.length }, () => 0)
  for (const [k, i] of columns.slotOrder.entries()) chosen[i] = columns.optionOrder[k]![choice[k]!]!
  const isLimited = (site: string): boolean => problem.siteRateBps.has(site)
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

/** The limits of a problem: they may be tightened while all else stays, which sites a gateway has included. */
export type ProblemLimits = Omit<Problem, 'slots'>

/**
 * Sort and prune a problem once, to be solved under several limits.
 *
 * @returns Solves it under the limits that it is given; the first time from `warm`, then from the prices of before.
 */
export function openProblem(problem: Problem, warm?: FleetWidePrices): (limits: ProblemLimits) => Solution {
  const columns = toColumns(problem)
  let solved: Solved | undefined
  return (limits) => {
    const changed = { ...limits, slots: problem.slots }
    solved =
      solved === undefined
        ? solveTables(makeTables({ ...columns, limits: toLimits(changed, columns) }), warm)
        : solveAgain(solved, toLimits(changed, columns))
    return toSolution(changed, columns, readSolution(solved))
  }
}

/**
 * Choose one configuration for each slot. Pure and deterministic; see the solver's own description.
 *
 * @param warm Prices of the plan before.
 * @see docs/planner.md
 */
export function solve(problem: Problem, warm?: FleetWidePrices): Solution {
  return openProblem(problem, warm)(problem)
}
