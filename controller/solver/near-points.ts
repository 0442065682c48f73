import type { Tables } from './tables.ts'

/** Prices of power and of one site's rate. */
export interface PriceBox {
  readonly muLow: number
  readonly muHigh: number
  readonly lambdaLow: number
  readonly lambdaHigh: number
}

/**
 * The points that can be the best of their slot at some prices within a box, and the sum of those slots that have only
 * one. What a point is worth is linear in the prices: what loses more to the best at the middle of the box than it can
 * gain on the way to any of its corners, is best nowhere in it. With prices known to a tenth, few points are
 * left (45 of 809 at a site of the bench), and a search asks those again and again.
 */
export class NearPoints {
  /** Slots of site s with several points: places `place[siteStart[s]]` and on, `placeCount[s]` of them. */
  readonly place: Int32Array
  readonly placeCount: Int32Array
  /** Points of the slot at place k: `point[pointStart[k]]` and on, `pointCount[k]` of them, in order of rate. */
  readonly point: Int32Array
  readonly pointCount: Int32Array
  /** Sums over the other slots of each site. */
  readonly rate: Float64Array
  readonly power: Float64Array
  readonly utility: Float64Array
  readonly carbon: Float64Array
  readonly #tables: Tables
  readonly #worth: Float64Array

  constructor(tables: Tables, longest: number) {
    const { siteAt, slotAt, rate } = tables
    this.#tables = tables
    this.place = new Int32Array(slotAt.length)
    this.placeCount = new Int32Array(siteAt.length)
    this.point = new Int32Array(rate.length)
    this.pointCount = new Int32Array(slotAt.length)
    this.rate = new Float64Array(siteAt.length)
    this.power = new Float64Array(siteAt.length)
    this.utility = new Float64Array(siteAt.length)
    this.carbon = new Float64Array(siteAt.length)
    this.#worth = new Float64Array(longest)
    for (let s = 0; s < siteAt.length; s++) this.open(s)
  }

  /** List all points of a site again. */
  open(site: number): void {
    const { siteStart, pointStart, pointCount } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    for (let k = first; k < last; k++) {
      this.place[k] = k
      const count = pointCount[k]!
      const from = pointStart[k]!
      this.pointCount[k] = count
      for (let point = from; point < from + count; point++) this.point[point] = point
    }
    this.placeCount[site] = last - first
    this.rate[site] = 0
    this.power[site] = 0
    this.utility[site] = 0
    this.carbon[site] = 0
  }

  /**
   * Drop the points of a site that are never best within a box. All must be listed.
   *
   * @param taken The points of slots that have only one are written there.
   */
  close(site: number, box: PriceBox, nu: number, taken: Int32Array): void {
    const { siteStart, pointStart, rate, power, utility, carbon } = this.#tables
    const { place, point } = this
    const worth = this.#worth
    const [mu, lambda] = [(box.muLow + box.muHigh) / 2, (box.lambdaLow + box.lambdaHigh) / 2]
    const [muReach, lambdaReach] = [box.muHigh - mu, box.lambdaHigh - lambda]
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    let [rateSum, powerSum, utilitySum, carbonSum, kept] = [0, 0, 0, 0, first]
    for (let k = first; k < last; k++) {
      const price = mu + nu * carbon[k]!
      const from = pointStart[k]!
      const to = from + this.pointCount[k]!
      let [best, bestWorth] = [from, Number.NEGATIVE_INFINITY]
      for (let at = from; at < to; at++) {
        const v = utility[at]! - price * power[at]! - lambda * rate[at]!
        worth[at - from] = v
        if (v > bestWorth) {
          bestWorth = v
          best = at
        }
      }
      const [bestPower, bestRate] = [power[best]!, rate[best]!]
      let end = from
      for (let at = from; at < to; at++) {
        const reach = muReach * Math.abs(power[at]! - bestPower) + lambdaReach * Math.abs(rate[at]! - bestRate)
        if (bestWorth - worth[at - from]! < reach || at === best) point[end++] = at
      }
      if (end > from + 1) {
        this.pointCount[k] = end - from
        place[kept++] = k
        continue
      }
      taken[k] = best
      rateSum += bestRate
      powerSum += bestPower
      utilitySum += utility[best]!
      carbonSum += bestPower * carbon[k]!
    }
    this.placeCount[site] = kept - first
    this.rate[site] = rateSum
    this.power[site] = powerSum
    this.utility[site] = utilitySum
    this.carbon[site] = carbonSum
  }
}
