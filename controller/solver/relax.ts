import { NearPoints } from './near-points.ts'
import { cutSteepest } from './steepest.ts'
import type { Tables } from './tables.ts'

/**
 * Only steps within this factor of a site's last price are looked at one by one: it moves little between sweeps, and less
 * where the fleet's prices do. The narrowest still holds a few steps of a site of fifty slots.
 */
const WIDEST_WINDOW = 1.4
const NARROWEST_WINDOW = 1.05
/** A site's price moves by at most about so many times the share by which the fleet's does. */
const WINDOW_GROWTH = 4
/**
 * Of each cell those points are at hand that can be best at prices up to this factor off the last two. Of a cell that was
 * never asked: off the first price that is tried, and up to the second factor off what rate costs the site before it.
 */
const SPAN = 1.15
const FIRST_SPAN = 1.4
const FIRST_WINDOW = 3
/** Relative difference of two sums of the same numbers. */
const ROUNDING = 1e-11

/** What the linear relaxation takes at one pair of fleet prices, fractions included. */
export interface Sweep {
  readonly mu: number
  readonly nu: number
  /** Sum of utility - mu * power - nu * carbon. */
  readonly value: number
  readonly powerMw: number
  readonly carbonUgPerH: number
  /** The same of each site, in sweeping order. */
  readonly siteValue: Float64Array
  readonly sitePower: Float64Array
  readonly siteCarbon: Float64Array
}

/**
 * The exact linear relaxation of sites and gateways at given fleet prices: for each slot the upper hull of
 * (rate, utility - price * power), for each site its steps in order of slope until the uplink is full (Dantzig's rule).
 * Gateways nest over sites in the same unit, so filling the steps that sites took, again by slope, until the gateway is
 * full is exact too, and no third price has to be searched for.
 *
 * Keeps its scratch space and the answer of its last call for each cell.
 */
export class Relaxer {
  /** Of the last call: each place's point, rounded down, and the prices. */
  readonly taken: Int32Array
  readonly lambda: Float64Array
  readonly gamma: Float64Array
  readonly #tables: Tables
  readonly #value: Float64Array
  readonly #utility: Float64Array
  readonly #power: Float64Array
  readonly #carbon: Float64Array
  /** Of one slot: utility less what power costs, of each point, and the points on its hull. */
  readonly #worth: Float64Array
  readonly #hull: Int32Array
  /** Of one cell: steps along the hulls. */
  readonly #place: Int32Array
  readonly #point: Int32Array
  readonly #rate: Float64Array
  readonly #stepUtility: Float64Array
  readonly #stepPower: Float64Array
  readonly #slope: Float64Array
  readonly #order: Int32Array
  #steps = 0
  /** Fleet prices at which each cell was asked last. */
  readonly #cellMu: Float64Array
  readonly #cellNu: Float64Array
  /** Points that can still be best, and for which prices that holds: of power, of each cell; of rate, of each site. */
  readonly #near: NearPoints
  readonly #muLow: Float64Array
  readonly #muHigh: Float64Array
  readonly #nearNu: Float64Array
  readonly #lambdaLow: Float64Array
  readonly #lambdaHigh: Float64Array
  readonly #isChanged: Uint8Array

  /** @param room A relaxer that is not used any more: its largest columns are, if they suffice. */
  constructor(tables: Tables, room?: Relaxer) {
    this.#tables = tables
    const { slotAt, siteRate, cellRate, pointStart, cellStart, siteStart } = tables
    this.taken = new Int32Array(slotAt.length)
    this.lambda = new Float64Array(siteRate.length)
    this.gamma = new Float64Array(cellRate.length)
    this.#value = new Float64Array(siteRate.length)
    this.#utility = new Float64Array(siteRate.length)
    this.#power = new Float64Array(siteRate.length)
    this.#carbon = new Float64Array(siteRate.length)
    let longest = 0
    for (let k = 0; k < slotAt.length; k++) longest = Math.max(longest, pointStart[k + 1]! - pointStart[k]!)
    this.#worth = new Float64Array(longest)
    this.#hull = new Int32Array(longest)
    let most = 0
    for (let c = 0; c < cellRate.length; c++) {
      const [first, last] = [siteStart[cellStart[c]!]!, siteStart[cellStart[c + 1]!]!]
      most = Math.max(most, pointStart[last]! - pointStart[first]!)
    }
    this.#place = new Int32Array(most)
    this.#point = new Int32Array(most)
    this.#rate = new Float64Array(most)
    this.#stepUtility = new Float64Array(most)
    this.#stepPower = new Float64Array(most)
    this.#slope = new Float64Array(most)
    this.#order = new Int32Array(most)
    this.#cellMu = new Float64Array(cellRate.length)
    this.#cellNu = new Float64Array(cellRate.length)
    this.#near = new NearPoints(tables, room === undefined ? undefined : room.#near)
    this.#muLow = new Float64Array(cellRate.length)
    this.#muHigh = new Float64Array(cellRate.length)
    this.#nearNu = new Float64Array(cellRate.length).fill(Number.NaN)
    this.#lambdaLow = new Float64Array(siteRate.length)
    this.#lambdaHigh = new Float64Array(siteRate.length).fill(Number.POSITIVE_INFINITY)
    this.#isChanged = new Uint8Array(cellRate.length)
  }

  /** Must be called when options of the cell's slots have changed; of many slots it may be, their points are listed once. */
  forget(cell: number): void {
    this.#isChanged[cell] = 1
  }

  /** Have all points of a cell listed when they are asked next; those that are, and have not changed, stay. */
  #openCell(cell: number): void {
    const { cellStart } = this.#tables
    const isChanged = this.#isChanged[cell] === 1
    for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) if (isChanged || this.#isClosed(s)) this.#open(s)
    this.#nearNu[cell] = Number.NaN
    this.#isChanged[cell] = 0
  }

  #isClosed(site: number): boolean {
    return this.#lambdaHigh[site]! < Number.POSITIVE_INFINITY
  }

  #open(site: number): void {
    this.#near.forget(site)
    this.#lambdaLow[site] = 0
    this.#lambdaHigh[site] = Number.POSITIVE_INFINITY
  }

  /**
   * Relax every cell.
   *
   * @param between Answers at two power prices around `mu`, at the same `nu`. A cell that uses the same power at both is
   *   linear in between and is not asked again; `taken` and `lambda` then keep what they said last.
   */
  sweep(mu: number, nu: number, between?: readonly [Sweep, Sweep]): Sweep {
    const { cellRate } = this.#tables
    for (let c = 0; c < cellRate.length; c++)
      if (between === undefined || !this.#interpolate(c, mu, ...between)) this.relaxCell(c, mu, nu)
    let [value, powerMw, carbonUgPerH] = [0, 0, 0]
    for (let s = 0; s < this.#value.length; s++) {
      value += this.#value[s]!
      powerMw += this.#power[s]!
      carbonUgPerH += this.#carbon[s]!
    }
    return {
      mu,
      nu,
      value,
      powerMw,
      carbonUgPerH,
      siteValue: this.#value.slice(),
      sitePower: this.#power.slice(),
      siteCarbon: this.#carbon.slice(),
    }
  }

  /** Have `taken`, `lambda` and `gamma` say what every cell does at the prices: those that were asked them last do. */
  settleAt(mu: number, nu: number): void {
    for (let c = 0; c < this.#cellMu.length; c++)
      if (this.#cellMu[c] !== mu || this.#cellNu[c] !== nu) this.relaxCell(c, mu, nu)
  }

  /** A convex function with the same slope at two prices is a line between them. @returns False where the slopes differ. */
  #interpolate(cell: number, mu: number, a: Sweep, b: Sweep): boolean {
    const { cellStart } = this.#tables
    const [first, last] = [cellStart[cell]!, cellStart[cell + 1]!]
    let [powerA, powerB] = [0, 0]
    for (let s = first; s < last; s++) {
      powerA += a.sitePower[s]!
      powerB += b.sitePower[s]!
    }
    if (Math.abs(powerA - powerB) > ROUNDING * powerA) return false
    const share = (mu - a.mu) / (b.mu - a.mu)
    for (let s = first; s < last; s++) {
      // Between the two answers, not along a slope: a bound may be rounded up, never down.
      this.#value[s] = a.siteValue[s]! + share * (b.siteValue[s]! - a.siteValue[s]!)
      this.#power[s] = a.sitePower[s]!
      this.#carbon[s] = a.siteCarbon[s]!
    }
    return true
  }

  #windowOf(cell: number, mu: number, nu: number): number {
    const before = this.#cellMu[cell]!
    if (!(before > 0)) return FIRST_WINDOW
    if (nu !== this.#cellNu[cell] || !(mu > 0)) return WIDEST_WINDOW
    const moved = Math.max(mu / before, before / mu) - 1
    return Math.min(WIDEST_WINDOW, Math.max(NARROWEST_WINDOW, 1 + WINDOW_GROWTH * moved))
  }

  /** Have the points at hand that can be best at the price, and few others. */
  #prepare(cell: number, mu: number, nu: number): void {
    if (nu === this.#nearNu[cell] && mu >= this.#muLow[cell]! && mu <= this.#muHigh[cell]!) return
    const { cellStart } = this.#tables
    const before = this.#cellMu[cell]!
    if (this.#nearNu[cell]! >= 0) this.#openCell(cell)
    if (mu === 0) return
    const [span, window] = before > 0 ? [SPAN, WIDEST_WINDOW] : [FIRST_SPAN, FIRST_WINDOW]
    this.#muLow[cell] = Math.min(before || mu, mu) / span
    this.#muHigh[cell] = Math.max(before, mu) * span
    this.#nearNu[cell] = nu
    for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) this.#close(s, cell, window)
  }

  #close(site: number, cell: number, window: number): void {
    const lambda = this.lambda[site]!
    if (this.#tables.isStuck[site] === 1 || !(lambda > 0)) return
    const [muLow, muHigh] = [this.#muLow[cell]!, this.#muHigh[cell]!]
    const [lambdaLow, lambdaHigh] = [lambda / window, lambda * window]
    this.#near.close(site, { muLow, muHigh, lambdaLow, lambdaHigh }, this.#nearNu[cell]!, this.taken)
    this.#lambdaLow[site] = lambdaLow
    this.#lambdaHigh[site] = lambdaHigh
  }

  relaxCell(cell: number, mu: number, nu: number): void {
    const { cellStart, cellRate, isStuck } = this.#tables
    const isGateway = cellRate[cell]! < Number.POSITIVE_INFINITY
    this.gamma[cell] = 0
    if (this.#isChanged[cell] === 1) this.#openCell(cell)
    if (isGateway) {
      this.#cellMu[cell] = mu
      this.#cellNu[cell] = nu
      this.#relaxGateway(cell, mu, nu)
      return
    }
    const [first, last] = [cellStart[cell]!, cellStart[cell + 1]!]
    if (this.#cellMu[cell] === 0 && first > 0) this.#guess(first, last)
    this.#prepare(cell, mu, nu)
    const window = this.#windowOf(cell, mu, nu)
    this.#cellMu[cell] = mu
    this.#cellNu[cell] = nu
    for (let s = first; s < last; s++) {
      const lambda = this.lambda[s]!
      if (isStuck[s] === 1) {
        this.lambda[s] = 0
        this.#takeLeast(s)
        this.#valueAt(s, mu, nu)
        continue
      }
      const low = Math.max(this.#lambdaLow[s]!, lambda / window)
      const high = Math.min(this.#lambdaHigh[s]!, lambda * window)
      if (lambda > 0 && low < high && this.#relaxSite(s, mu, nu, low, high)) continue
      if (this.#isClosed(s)) {
        if (this.#relaxSite(s, mu, nu, this.#lambdaLow[s]!, this.#lambdaHigh[s]!)) continue
        this.#open(s)
      }
      this.#relaxSite(s, mu, nu, 0, Number.POSITIVE_INFINITY)
      if (this.#nearNu[cell] === nu) this.#close(s, cell, WIDEST_WINDOW)
    }
  }

  /** What rate may cost sites that were never asked: the less of it a slot has, the more, by the site before them. */
  #guess(first: number, last: number): void {
    const { siteRate, siteStart } = this.#tables
    const shareOf = (s: number): number => siteRate[s]! / (siteStart[s + 1]! - siteStart[s]!)
    const worth = this.lambda[first - 1]! * shareOf(first - 1)
    for (let s = first; s < last; s++) {
      const price = worth / shareOf(s)
      this.lambda[s] = Number.isFinite(price) ? price : 0
    }
  }

  /**
   * Fill one site.
   *
   * @param low, high Steps steeper than `high` are taken unseen, those flatter than `low` are left.
   * @returns False where that was wrong, and all steps must be looked at.
   */
  #relaxSite(site: number, mu: number, nu: number, low: number, high: number): boolean {
    const order = this.#order
    this.#steps = 0
    const room = this.#tables.siteRate[site]! - this.#collect(site, mu, nu, low, high)
    if (room < 0) return false
    const steps = this.#steps
    for (let i = 0; i < steps; i++) order[i] = i
    const cut = cutSteepest(order, 0, steps, this.#slope, this.#rate, room)
    if (cut.end === steps && low > 0) return false
    for (let i = 0; i < cut.end; i++) this.#take(site, order[i]!)
    if (cut.end < steps && this.#shrink(order[cut.end]!, cut.room)) this.#take(site, order[cut.end]!)
    this.lambda[site] = cut.end < steps ? this.#slope[order[cut.end]!]! : 0
    this.#valueAt(site, mu, nu)
    return true
  }

  #relaxGateway(cell: number, mu: number, nu: number): void {
    const { cellStart, cellRate, siteRate, isStuck } = this.#tables
    const order = this.#order
    this.#steps = 0
    let room = cellRate[cell]!
    let kept = 0
    for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) {
      this.lambda[s] = 0
      if (isStuck[s] === 1) {
        room -= this.#takeLeast(s)
        continue
      }
      const from = this.#steps
      const least = this.#collect(s, mu, nu, 0, Number.POSITIVE_INFINITY)
      room -= least
      for (let i = from; i < this.#steps; i++) order[i] = i
      const cut = cutSteepest(order, from, this.#steps, this.#slope, this.#rate, siteRate[s]! - least)
      // Only the steps that the site would take compete further.
      for (let i = from; i < cut.end; i++) order[kept++] = order[i]!
      if (cut.end < this.#steps) {
        const step = order[cut.end]!
        this.lambda[s] = this.#slope[step]!
        if (this.#shrink(step, cut.room)) order[kept++] = step
      }
    }
    this.#fillGateway(cell, kept, room)
    for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) this.#valueAt(s, mu, nu)
  }

  #fillGateway(cell: number, steps: number, room: number): void {
    const { cellStart, siteOfPlace } = this.#tables
    const order = this.#order
    const siteOf = (step: number): number => siteOfPlace[this.#place[step]!]!
    const cut = cutSteepest(order, 0, steps, this.#slope, this.#rate, room)
    for (let i = 0; i < cut.end; i++) this.#take(siteOf(order[i]!), order[i]!)
    if (cut.end === steps) return
    const last = order[cut.end]!
    const gamma = this.#slope[last]!
    this.gamma[cell] = gamma
    if (this.#shrink(last, cut.room)) this.#take(siteOf(last), last)
    for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) this.lambda[s] = Math.max(0, this.lambda[s]! - gamma)
  }

  /** Cut a step to a part of itself, which no whole choice stands for. */
  #shrink(step: number, room: number): boolean {
    const share = room / this.#rate[step]!
    this.#point[step] = -1
    this.#rate[step] = room
    this.#stepUtility[step]! *= share
    this.#stepPower[step]! *= share
    return share > 0
  }

  #take(site: number, step: number): void {
    const place = this.#place[step]!
    const powerMw = this.#stepPower[step]!
    this.#utility[site]! += this.#stepUtility[step]!
    this.#power[site]! += powerMw
    this.#carbon[site]! += powerMw * this.#tables.carbon[place]!
    const { rate } = this.#tables
    const point = this.#point[step]!
    if (point >= 0 && rate[point]! > rate[this.taken[place]!]!) this.taken[place] = point
  }

  /** From sums of whole numbers: so the value does not depend on the order in which they were added, nor on what was asked before. */
  #valueAt(site: number, mu: number, nu: number): void {
    this.#value[site] = this.#utility[site]! - mu * this.#power[site]! - nu * this.#carbon[site]!
  }

  /** A stuck site gets its least rates. */
  #takeLeast(site: number): number {
    const { siteStart, least, rate, power, utility, carbon } = this.#tables
    let [used, worth, powerMw, carbonUgPerH] = [0, 0, 0, 0]
    for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) {
      const point = least[k]!
      this.taken[k] = point
      used += rate[point]!
      worth += utility[point]!
      powerMw += power[point]!
      carbonUgPerH += power[point]! * carbon[k]!
    }
    this.#utility[site] = worth
    this.#power[site] = powerMw
    this.#carbon[site] = carbonUgPerH
    return used
  }

  /**
   * Start every slot of a site at what it takes at the price `high` of rate (the least, where that is infinite), and list
   * the steps along its hull from there to what it takes at the price `low`.
   *
   * @returns The rate so far.
   */
  #collect(site: number, mu: number, nu: number, low: number, high: number): number {
    const { siteStart, carbon } = this.#tables
    const near = this.#near
    near.open(site)
    const { rate, power, utility } = near
    const worth = this.#worth
    const hull = this.#hull
    const [places, points, rates] = [this.#place, this.#point, this.#rate]
    const [utilities, powers, slopes] = [this.#stepUtility, this.#stepPower, this.#slope]
    const isWhole = high === Number.POSITIVE_INFINITY
    let least = near.siteRate[site]!
    let powerMw = near.sitePower[site]!
    let carbonUgPerH = near.siteCarbon[site]!
    let utilitySum = near.siteUtility[site]!
    let steps = this.#steps
    const first = siteStart[site]!
    const last = first + near.placeCount[site]!
    for (let i = first; i < last; i++) {
      const k = near.place[i]!
      const price = mu + nu * carbon[k]!
      const from = near.start[i]!
      const count = near.end[i]! - from
      const leastRate = rate[from]!
      // What was best the last time most often is, and no comparison surprises.
      let start = isWhole ? 0 : near.lowest[i]!
      let end = near.highest[i]!
      let startWorth = utility[from + start]! - price * power[from + start]!
      if (!isWhole) startWorth -= high * rate[from + start]!
      let endWorth = utility[from + end]! - price * power[from + end]! - low * rate[from + end]!
      for (let j = 0; j < count; j++) {
        const v = utility[from + j]! - price * power[from + j]!
        const r = rate[from + j]!
        worth[j] = v
        const atHigh = isWhole ? (r === leastRate ? v : Number.NEGATIVE_INFINITY) : v - high * r
        const atLow = v - low * r
        if (atHigh > startWorth) {
          startWorth = atHigh
          start = j
        }
        if (atLow > endWorth) {
          endWorth = atLow
          end = j
        }
      }
      near.lowest[i] = start
      near.highest[i] = end
      const at = from + start
      this.taken[k] = near.point[at]!
      least += rate[at]!
      utilitySum += utility[at]!
      powerMw += power[at]!
      carbonUgPerH += power[at]! * carbon[k]!
      if (end <= start) continue
      let top = 0
      hull[0] = start
      for (let j = start + 1; j <= end; j++) {
        const v = worth[j]!
        if (v <= worth[hull[top]!]!) continue
        const r = rate[from + j]!
        if (r === rate[from + hull[top]!]!) top--
        while (top >= 1) {
          const before = hull[top - 1]!
          const middle = hull[top]!
          const a = rate[from + before]!
          const b = rate[from + middle]!
          if ((v - worth[middle]!) * (b - a) < (worth[middle]! - worth[before]!) * (r - b)) break
          top--
        }
        hull[++top] = j
      }
      for (let h = 1; h <= top; h++) {
        const below = hull[h - 1]!
        const above = hull[h]!
        const more = rate[from + above]! - rate[from + below]!
        places[steps] = k
        points[steps] = near.point[from + above]!
        rates[steps] = more
        utilities[steps] = utility[from + above]! - utility[from + below]!
        powers[steps] = power[from + above]! - power[from + below]!
        slopes[steps++] = (worth[above]! - worth[below]!) / more
      }
    }
    this.#steps = steps
    this.#utility[site] = utilitySum
    this.#power[site] = powerMw
    this.#carbon[site] = carbonUgPerH
    return least
  }
}
