import type { Choice, SlotProblem } from './problem.ts'

/** The linear relaxation of one site at one fleet price. */
export interface SiteRelaxation {
  /** Optimum of utility - mu * power; an upper bound of any integer plan of the site. */
  readonly value: number
  /** Of that optimum, fractions included. */
  readonly powerMw: number
  readonly lambda: number
  /** The optimum without its one fractional step: keeps the site's rate. */
  readonly chosen: Int32Array
}

/** A site with its slots' choices in order of rate, made once for many prices. */
export interface Site {
  readonly id: string
  /** Positions of the slots in the problem. */
  readonly positions: readonly number[]
  readonly slots: readonly SlotProblem[]
  /** Positions in `choices` by rate, then id. */
  readonly byRate: readonly (readonly number[])[]
  readonly capacityBps: number
  /** The least rate at which every slot runs. */
  readonly leastRateBps: number
}

/** Order of ids: by code unit, the same on every machine. */
export function compareIds(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

export function makeSite(
  id: string,
  positions: readonly number[],
  slots: readonly SlotProblem[],
  capacityBps: number,
): Site {
  const byRate = slots.map(({ choices }) =>
    choices
      .map((_, i) => i)
      .sort((a, b) => choices[a]!.rateBps - choices[b]!.rateBps || compareIds(choices[a]!.id, choices[b]!.id)),
  )
  const leastRateBps = slots.reduce((sum, { choices }, i) => sum + choices[byRate[i]![0]!]!.rateBps, 0)
  return { id, positions, slots, byRate, capacityBps, leastRateBps }
}

/**
 * The upper hull of (rate, worth): from the cheapest choice on, each step gains worth at a falling worth per bit/s.
 *
 * @param byRate Positions in order of rate.
 */
export function upperHull<Item extends { readonly rateBps: number }>(
  choices: readonly Item[],
  byRate: readonly number[],
  worth: (choice: Item) => number,
): number[] {
  const hull: number[] = []
  const rate = (i: number) => choices[i]!.rateBps
  const value = (i: number) => worth(choices[i]!)
  for (const next of byRate) {
    const last = hull.at(-1)
    if (last !== undefined) {
      if (value(next) <= value(last)) continue
      if (rate(next) === rate(last)) hull.pop()
    }
    while (hull.length >= 2) {
      const [a, b] = [hull.at(-2)!, hull.at(-1)!]
      const before = (value(b) - value(a)) / (rate(b) - rate(a))
      const after = (value(next) - value(b)) / (rate(next) - rate(b))
      if (after < before) break
      hull.pop()
    }
    hull.push(next)
  }
  return hull
}

/** The best choice at the least rate: what a site gets whose limit is below its cheapest plan. */
function cheapest(site: Site): Int32Array {
  return Int32Array.from(site.slots, ({ choices }, i) => {
    const order = site.byRate[i]!
    return order
      .filter((c) => choices[c]!.rateBps === choices[order[0]!]!.rateBps)
      .reduce((best, c) => (choices[c]!.utility > choices[best]!.utility ? c : best))
  })
}

export function isFeasible(site: Site): boolean {
  return site.leastRateBps <= site.capacityBps
}

/** Fill the site in order of worth per bit/s (Dantzig's rule over the hulls): exact for the relaxation. */
export function relaxSite(site: Site, mu: number): SiteRelaxation {
  const worth = (choice: Choice) => choice.utility - mu * choice.powerMw
  if (!isFeasible(site)) {
    const chosen = cheapest(site)
    const choices = site.slots.map((slot, i) => slot.choices[chosen[i]!]!)
    const powerMw = choices.reduce((sum, c) => sum + c.powerMw, 0)
    return { value: choices.reduce((sum, c) => sum + worth(c), 0), powerMw, lambda: 0, chosen }
  }
  const hulls = site.slots.map(({ choices }, i) => upperHull(choices, site.byRate[i]!, worth))
  const isUnlimited = site.capacityBps === Number.POSITIVE_INFINITY
  const chosen = Int32Array.from(hulls, (hull) => (isUnlimited ? hull.at(-1)! : hull[0]!))
  let value = 0
  let powerMw = 0
  let slackBps = site.capacityBps
  for (const [i, { choices }] of site.slots.entries()) {
    const start = choices[chosen[i]!]!
    value += worth(start)
    powerMw += start.powerMw
    slackBps -= start.rateBps
  }
  if (isUnlimited) return { value, powerMw, lambda: 0, chosen }

  const steps = hulls.flatMap((hull, i) =>
    hull.slice(1).map((to, step) => {
      const { choices } = site.slots[i]!
      const [a, b] = [choices[hull[step]!]!, choices[to]!]
      const rateBps = b.rateBps - a.rateBps
      const gain = worth(b) - worth(a)
      return { i, to, rateBps, gain, powerMw: b.powerMw - a.powerMw, slope: gain / rateBps }
    }),
  )
  // The sort is stable and slopes fall along a hull, so the steps of a slot stay in order.
  steps.sort((a, b) => b.slope - a.slope)
  for (const step of steps) {
    if (step.rateBps > slackBps) {
      const share = slackBps / step.rateBps
      value += share * step.gain
      powerMw += share * step.powerMw
      return { value, powerMw, lambda: step.slope, chosen }
    }
    slackBps -= step.rateBps
    value += step.gain
    powerMw += step.powerMw
    chosen[step.i] = step.to
  }
  return { value, powerMw, lambda: 0, chosen }
}
