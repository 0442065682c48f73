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
 * left (45 of 809 at a site of the bench), and a search asks those again and again: they lie one after another.
 *
 * Its loops, and those of the relaxer, are without array patterns: the compiler does not always see through their iterators.
 */
export class NearPoints {
  /** Slots of site s with several points: places `place[i]` for i from `siteStart[s]` on, `placeCount[s]` of them. */
  readonly place: Int32Array
  readonly placeCount: Int32Array
  /** Of the i-th of them: `start[i]` to `end[i]` in the columns below, in order of rate. */
  readonly start: Int32Array
  readonly end: Int32Array
  /** Which of them were best at the ends of the last window: a guess, counted from the first. Changed by who asks. */
  readonly lowest: Int32Array
  readonly highest: Int32Array
  readonly point: Int32Array
  readonly rate: Float64Array
  readonly power: Float64Array
  readonly utility: Float64Array
  /** Sums over the other slots of each site. */
  readonly siteRate: Float64Array
  readonly sitePower: Float64Array
  readonly siteUtility: Float64Array
  readonly siteCarbon: Float64Array
  readonly #tables: Tables
  readonly #isListed: Uint8Array

  /** @param room Points that are not used any more: their columns are, if they suffice. */
  constructor(tables: Tables, room?: NearPoints) {
    const { siteAt, slotAt, rate } = tables
    this.#tables = tables
    this.place = new Int32Array(slotAt.length)
    this.placeCount = new Int32Array(siteAt.length)
    this.start = new Int32Array(slotAt.length)
    this.lowest = new Int32Array(slotAt.length)
    this.highest = new Int32Array(slotAt.length)
    this.end = new Int32Array(slotAt.length)
    const has = room !== undefined && room.rate.length >= rate.length
    this.point = has ? room.point : new Int32Array(rate.length)
    this.rate = has ? room.rate : new Float64Array(rate.length)
    this.power = has ? room.power : new Float64Array(rate.length)
    this.utility = has ? room.utility : new Float64Array(rate.length)
    this.siteRate = new Float64Array(siteAt.length)
    this.sitePower = new Float64Array(siteAt.length)
    this.siteUtility = new Float64Array(siteAt.length)
    this.siteCarbon = new Float64Array(siteAt.length)
    this.#isListed = new Uint8Array(siteAt.length)
  }

  /** What is listed of a site holds no more. */
  forget(site: number): void {
    this.#isListed[site] = 0
  }

  /** List all points of a site, if none are listed. */
  open(site: number): void {
    if (this.#isListed[site] === 1) return
    this.#isListed[site] = 1
    const { siteStart, pointStart, pointCount } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    for (let k = first; k < last; k++) {
      this.place[k] = k
      const from = pointStart[k]!
      const to = from + pointCount[k]!
      this.start[k] = from
      this.lowest[k] = this.highest[k] = 0
      this.end[k] = to
      for (let point = from; point < to; point++) this.point[point] = point
      this.#sort(from, to)
    }
    this.placeCount[site] = last - first
    this.siteRate[site] = 0
    this.sitePower[site] = 0
    this.siteUtility[site] = 0
    this.siteCarbon[site] = 0
  }

  /**
   * List only the points of a site that can be best within a box.
   *
   * @param taken The points of slots that have only one are written there.
   */
  close(site: number, box: PriceBox, nu: number, taken: Int32Array): void {
    this.#isListed[site] = 1
    const { siteStart, pointStart, pointCount, rate, power, utility, carbon } = this.#tables
    const { place, point } = this
    const [mu, lambda] = [(box.muLow + box.muHigh) / 2, (box.lambdaLow + box.lambdaHigh) / 2]
    const [muReach, lambdaReach] = [box.muHigh - mu, box.lambdaHigh - lambda]
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    let rateSum = 0
    let powerSum = 0
    let utilitySum = 0
    let carbonSum = 0
    let kept = first
    let end = pointStart[first]!
    let guess = 0
    for (let k = first; k < last; k++) {
      const price = mu + nu * carbon[k]!
      const from = pointStart[k]!
      const to = from + pointCount[k]!
      // Against the best so far, beginning with the option that was best for the slot before: few are left to be asked twice.
      let best = from + guess < to ? from + guess : from
      let bestPower = power[best]!
      let bestRate = rate[best]!
      let bestWorth = utility[best]! - price * bestPower - lambda * bestRate
      const start = end
      for (let at = from; at < to; at++) {
        const p = power[at]!
        const r = rate[at]!
        const worth = utility[at]! - price * p - lambda * r
        // Counted rather than branched on: which points stay, no processor foresees.
        point[end] = at
        end += Number(bestWorth - worth <= muReach * Math.abs(p - bestPower) + lambdaReach * Math.abs(r - bestRate))
        if (worth > bestWorth) {
          best = at
          bestPower = p
          bestRate = r
          bestWorth = worth
        }
      }
      guess = best - from
      const listed = end
      end = start
      for (let i = start; i < listed; i++) {
        const at = point[i]!
        const p = power[at]!
        const r = rate[at]!
        const loss = bestWorth - (utility[at]! - price * p - lambda * r)
        point[end] = at
        end += Number(loss <= muReach * Math.abs(p - bestPower) + lambdaReach * Math.abs(r - bestRate))
      }
      if (end > start + 1) {
        this.start[kept] = start
        this.lowest[kept] = this.highest[kept] = 0
        this.end[kept] = end
        place[kept++] = k
        this.#sort(start, end)
        continue
      }
      end = start
      taken[k] = best
      rateSum += bestRate
      powerSum += bestPower
      utilitySum += utility[best]!
      carbonSum += bestPower * carbon[k]!
    }
    this.placeCount[site] = kept - first
    this.siteRate[site] = rateSum
    this.sitePower[site] = powerSum
    this.siteUtility[site] = utilitySum
    this.siteCarbon[site] = carbonSum
  }

  /** Bring points into order of rate, by insertion, and their columns beside them. */
  #sort(start: number, end: number): void {
    const { rate, power, utility } = this.#tables
    const { point, rate: sorted } = this
    for (let i = start; i < end; i++) {
      const next = point[i]!
      const r = rate[next]!
      let at = i
      for (; at > start && sorted[at - 1]! > r; at--) {
        sorted[at] = sorted[at - 1]!
        point[at] = point[at - 1]!
      }
      sorted[at] = r
      point[at] = next
    }
    for (let i = start; i < end; i++) {
      this.power[i] = power[point[i]!]!
      this.utility[i] = utility[point[i]!]!
    }
  }
}
