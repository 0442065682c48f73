import type { OptionColumns } from './frontier.ts'
import { costOf } from './ledger.ts'
import { replaceSlot, type Solved } from './solve-fleet.ts'

/** A neighbour moves only for a gain above this share of its own utility: moves are not free. */
const LEAST_GAIN = 0.01

/**
 * Plan again after the options of one slot changed, at the fleet's present prices: only that slot and at most one other
 * of its site move. Takes time in proportion to the site, not to the fleet. The bound stays a bound.
 *
 * @param solved Changed in place.
 * @returns The slots that moved; undefined where the change needs the whole fleet: then solve the tables again.
 */
export function changeSlot(solved: Solved, slot: number, options: OptionColumns): number[] | undefined {
  const { tables, relaxer, ledger, prices } = solved
  const { siteOfPlace, cellOfSite, siteStart, pointStart, pointCount, option, isStuck } = tables
  const place = tables.placeOf[slot]!
  const site = siteOfPlace[place]!
  const cell = cellOfSite[site]!
  if (isStuck[site] === 1) return undefined
  const before = { option: option[ledger.choice[place]!]!, relaxed: relaxedWorth(solved, site) }
  ledger.leave(place)
  if (!replaceSlot(solved, slot, options) || isStuck[site] === 1) return undefined
  if (tables.gatewayAt[cell]! < 0) {
    relaxer.relaxCell(cell, prices.mu, prices.nu)
    prices.lambda[site] = relaxer.lambda[site]!
  }
  solved.dual += relaxedWorth(solved, site) - before.relaxed
  solved.bound = solved.dual
  solved.integerBound = solved.dual

  const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
  let [best, own, neighbour, to] = [Number.NEGATIVE_INFINITY, -1, -1, -1]
  const worthOf = (k: number, point: number): number => tables.utility[point]! - fleetCost(solved, k, point)
  // What each move of a neighbour gains at the prices, once for all of the slot's own options.
  const origin = pointStart[first]!
  const gains = new Float64Array(pointStart[last]! - origin)
  for (let k = first; k < last; k++) {
    const now = ledger.choice[k]!
    const stay = worthOf(k, now) + LEAST_GAIN * Math.abs(tables.utility[now]!)
    for (let other = pointStart[k]!; other < pointStart[k]! + pointCount[k]!; other++)
      gains[other - origin] = worthOf(k, other) - stay
  }
  for (let point = pointStart[place]!; point < pointStart[place]! + pointCount[place]!; point++) {
    ledger.enter(place, point)
    const worth = worthOf(place, point)
    if (ledger.isKept(site, cell) && worth > best) [best, own, neighbour] = [worth, point, -1]
    for (let k = first; k < last; k++) {
      if (k === place) continue
      const now = ledger.choice[k]!
      for (let other = pointStart[k]!; other < pointStart[k]! + pointCount[k]!; other++) {
        const both = worth + gains[other - origin]!
        if (both > best && other !== now && ledger.keepsWith(k, other))
          [best, own, neighbour, to] = [both, point, k, other]
      }
    }
    ledger.leave(place)
  }
  if (own < 0) return undefined
  ledger.enter(place, own)
  const moved = option[own] === before.option ? [] : [slot]
  if (neighbour >= 0) {
    ledger.move(neighbour, to)
    moved.push(tables.slotAt[neighbour]!)
  }
  return moved
}

/** What a point takes of all that is shared beyond the site. */
function fleetCost({ tables, prices }: Solved, place: number, point: number): number {
  const gamma = prices.gamma[tables.cellOfSite[tables.siteOfPlace[place]!]!]!
  return (prices.mu + prices.nu * tables.carbon[place]!) * tables.power[point]! + gamma * tables.rate[point]!
}

/** The site's part of the dual function at the present prices. */
function relaxedWorth({ tables, prices }: Solved, site: number): number {
  const { siteStart, pointStart, pointCount, utility, siteRate } = tables
  const lambda = prices.lambda[site]!
  let sum = lambda > 0 ? lambda * siteRate[site]! : 0
  for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) {
    let best = Number.NEGATIVE_INFINITY
    for (let point = pointStart[k]!; point < pointStart[k]! + pointCount[k]!; point++)
      best = Math.max(best, utility[point]! - costOf(tables, prices, k, point))
    sum += best
  }
  return sum
}
