import { compareIds } from '@espalier/shared/ladder/compare-ids'
import type { FleetColumns } from '../solver/columns.ts'
import { solveFleet } from '../solver/solve-fleet.ts'
import type { Gateway, Problem, Solution } from './problem.ts'

interface Columns extends FleetColumns {
  /** Position in the problem of each column's slot. */
  readonly slotOrder: readonly number[]
  /** For each column's slot, position in its `choices` of each option. */
  readonly optionOrder: readonly (readonly number[])[]
  readonly siteIds: readonly string[]
  readonly gatewayIds: readonly string[]
}

const orderById = <T>(items: readonly T[], id: (item: T) => string): number[] =>
  items.map((_, i) => i).sort((a, b) => compareIds(id(items[a]!), id(items[b]!)))

/** Everything in order of id: the plan does not depend on the order in which devices were heard of. */
function toColumns(problem: Problem): Columns {
  const { slots, siteRateBps, gateways = new Map<string, Gateway>(), fleetPowerMw, fleetCarbonUgPerH } = problem
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
  const gatewayOf = new Int32Array(siteIds.length).fill(-1)
  for (const [g, id] of gatewayIds.entries())
    for (const site of gateways.get(id)!.sites) if (siteAt.has(site)) gatewayOf[siteAt.get(site)!] = g
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
    limits: {
      siteRateBps: Float64Array.from(siteIds, (site) => siteRateBps.get(site) ?? Number.POSITIVE_INFINITY),
      gatewayOf,
      gatewayRateBps: Float64Array.from(gatewayIds, (id) => gateways.get(id)!.rateBps),
      powerMw: fleetPowerMw ?? Number.POSITIVE_INFINITY,
      carbonUgPerH: fleetCarbonUgPerH ?? Number.POSITIVE_INFINITY,
    },
  }
}

/**
 * Choose one configuration for each slot. Pure and deterministic; see the solver's own description.
 *
 * @param warm Prices of the plan before.
 * @see docs/planner.md
 */
export function solve(problem: Problem, warm?: Pick<Solution, 'mu' | 'nu'>): Solution {
  const columns = toColumns(problem)
  const { siteIds, gatewayIds } = columns
  const { choice, prices, ...solution } = solveFleet(columns, warm)
  const chosen: number[] = Array.from({ length: problem.slots.length }, () => 0)
  for (const [k, i] of columns.slotOrder.entries()) chosen[i] = columns.optionOrder[k]![choice[k]!]!
  const isLimited = (site: string): boolean => problem.siteRateBps.has(site)
  const stuckGateways = solution.stuckGateways.map((g) => gatewayIds[g]!)
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
    infeasibleGateways: stuckGateways,
    isPowerInfeasible: !solution.isFleetKept,
  }
}
