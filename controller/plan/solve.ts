import type { Problem, Solution } from './problem.ts'
import { repair } from './repair.ts'
import { isFeasible, makeSite, relaxSite, type Site, type SiteRelaxation } from './site.ts'

interface Sweep {
  readonly mu: number
  readonly relaxations: readonly SiteRelaxation[]
  readonly powerMw: number
  /** The dual function: an upper bound at any mu >= 0. */
  readonly dual: number
}

const MAX_SWEEPS = 100
/** Relative distance of the tangents' lower bound from the dual at which the price is taken as found. */
const TOLERANCE = 1e-10

function sweep(sites: readonly Site[], mu: number, limitMw: number): Sweep {
  const relaxations = sites.map((site) => relaxSite(site, mu))
  const powerMw = relaxations.reduce((sum, r) => sum + r.powerMw, 0)
  const value = relaxations.reduce((sum, r) => sum + r.value, 0)
  // 0 * Infinity is not 0.
  return { mu, relaxations, powerMw, dual: mu === 0 ? value : value + mu * limitMw }
}

/** A price at which power outweighs any utility. */
function largestPrice(problem: Problem): number {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { choices } of problem.slots)
    for (const { utility } of choices) {
      least = Math.min(least, utility)
      most = Math.max(most, utility)
    }
  return 16 * (most - least + 1)
}

/**
 * Minimise the dual over the fleet price by intersecting the tangents on both sides of the limit: the dual is
 * convex and piecewise linear, so this ends, usually within a dozen sweeps.
 *
 * @returns The sweep at the price on the side that keeps the limit, and the least dual that was seen.
 */
function findFleetPrice(sites: readonly Site[], limitMw: number, largest: number): { final: Sweep; bound: number } {
  let over = sweep(sites, 0, limitMw)
  if (over.powerMw <= limitMw) return { final: over, bound: over.dual }
  let within = sweep(sites, largest, limitMw)
  let bound = Math.min(over.dual, within.dual)
  if (within.powerMw > limitMw) return { final: within, bound }
  for (let sweeps = 0; sweeps < MAX_SWEEPS; sweeps++) {
    const [fall, rise] = [limitMw - over.powerMw, limitMw - within.powerMw]
    const mu = (within.dual - rise * within.mu - over.dual + fall * over.mu) / (fall - rise)
    if (!(mu > over.mu && mu < within.mu)) break
    const tangentBound = over.dual + fall * (mu - over.mu)
    const middle = sweep(sites, mu, limitMw)
    bound = Math.min(bound, middle.dual)
    if (middle.powerMw > limitMw) over = middle
    else within = middle
    if (middle.dual - tangentBound <= TOLERANCE * Math.max(1, Math.abs(middle.dual))) break
  }
  return { final: within, bound }
}

/**
 * Choose one configuration for each slot: nested Lagrangian relaxation (a fleet price outside, an exact multiple-choice
 * knapsack relaxation for each site inside), then integer repair. The relaxation's optimum comes with the answer as
 * its certificate. Deterministic.
 *
 * @see docs/controller.md
 */
export function solve(problem: Problem): Solution {
  const bySite = new Map<string, number[]>()
  for (const [position, { site }] of problem.slots.entries()) bySite.set(site, [...(bySite.get(site) ?? []), position])
  const sites = [...bySite].map(([id, positions]) =>
    makeSite(
      id,
      positions,
      positions.map((p) => problem.slots[p]!),
      problem.siteRateBps.get(id) ?? Number.POSITIVE_INFINITY,
    ),
  )
  const limitMw = problem.fleetPowerMw ?? Number.POSITIVE_INFINITY
  const { final, bound } = findFleetPrice(sites, limitMw, largestPrice(problem))
  const chosen: number[] = Array.from({ length: problem.slots.length }, () => 0)
  for (const [s, site] of sites.entries())
    for (const [i, position] of site.positions.entries()) chosen[position] = final.relaxations[s]!.chosen[i]!
  const { isPowerKept } = repair(problem, sites, chosen, limitMw)
  const lambda = new Map<string, number>()
  for (const [s, site] of sites.entries())
    if (site.capacityBps !== Number.POSITIVE_INFINITY) lambda.set(site.id, final.relaxations[s]!.lambda)
  return {
    chosen,
    value: chosen.reduce((sum, c, i) => sum + problem.slots[i]!.choices[c]!.utility, 0),
    bound,
    lambda,
    mu: isPowerKept ? final.mu : 0,
    infeasibleSites: sites.filter((site) => !isFeasible(site)).map(({ id }) => id),
    isPowerInfeasible: !isPowerKept,
  }
}
