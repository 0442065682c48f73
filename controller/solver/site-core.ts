import type { Tables } from './tables.ts'

/** What one site pays: micro-utility per mW, micro-g/h and bit/s. */
export interface SitePrices {
  readonly mu: number
  readonly nu: number
  /** Of the site's own limit. */
  readonly lambda: number
  /** Of its gateway. */
  readonly gamma: number
}

/** Worth is utility less what power, carbon and gateway cost; the site's own limit is kept, not paid. */
export interface SiteSolution {
  readonly worth: number
  /** No choice within the site's limit has more worth. */
  readonly bound: number
  /** Nor has any mixture of choices: the linear relaxation's. */
  readonly relaxed: number
}

/** Beyond these the core is given up and the relaxation's bound stands. */
const MAX_STATES = 4096
const MAX_NODES = 1 << 16
/** Relative to the site's worth: gains below are rounding. */
const EPSILON = 1e-11

/** Partial plans of the core in order of rate, each worth more than the one before. */
class States {
  /** And one that ends them. */
  readonly used = new Float64Array(MAX_STATES + 1)
  readonly loss = new Float64Array(MAX_STATES + 1)
  readonly node = new Int32Array(MAX_STATES + 1)
  count = 0
}

/**
 * The best whole choice for one site at given prices, exactly: options whose reduced cost exceeds what is still to be
 * gained are out (Dembo and Hammer 1980); over the few that remain, from the cheapest to change on, lists of
 * undominated partial plans grow until nothing can be gained any more (Pisinger 1995, minimal core).
 *
 * All is counted as loss against the relaxation: reduced costs plus lambda times what stays free.
 */
export class SiteSolver {
  readonly #tables: Tables
  /** Of all points of a site. */
  readonly #worth: Float64Array
  /** Of its places: the point that is worth most, and what it is worth. */
  readonly #base: Int32Array
  readonly #best: Float64Array
  /** The points that may pay, place by place: they end where those of the next place start. */
  readonly #point: Int32Array
  readonly #reduced: Float64Array
  readonly #start: Int32Array
  /** The least that leaving the base costs, among them. */
  readonly #least: Float64Array
  #states = new States()
  #spares: [States, States] = [new States(), new States()]
  readonly #parent = new Int32Array(MAX_NODES)
  readonly #placeAt = new Int32Array(MAX_NODES)
  readonly #pointAt = new Int32Array(MAX_NODES)
  #nodes = 0
  #bestLoss = 0
  #bestNode = -1

  constructor(tables: Tables) {
    this.#tables = tables
    const { siteStart, pointStart } = tables
    let [points, places] = [0, 0]
    for (let s = 0; s + 1 < siteStart.length; s++) {
      const [first, last] = [siteStart[s]!, siteStart[s + 1]!]
      points = Math.max(points, pointStart[last]! - pointStart[first]!)
      places = Math.max(places, last - first)
    }
    this.#worth = new Float64Array(points)
    this.#base = new Int32Array(places)
    this.#best = new Float64Array(places)
    this.#point = new Int32Array(points)
    this.#reduced = new Float64Array(points)
    this.#start = new Int32Array(places + 1)
    this.#least = new Float64Array(places)
  }

  /**
   * @param choice Point of each place; the site's part must keep its limit and is improved in place.
   */
  solve(site: number, prices: SitePrices, choice: Int32Array): SiteSolution {
    const { siteRate, siteStart, pointStart, rate } = this.#tables
    const { lambda } = prices
    const capacity = siteRate[site]!
    const best = this.#price(site, prices, choice)
    const relaxed = best + (lambda === 0 ? 0 : lambda * capacity)
    const epsilon = EPSILON * (1 + Math.abs(relaxed))
    const first = siteStart[site]!
    let room = capacity
    let reduced = 0
    for (let k = first; k < siteStart[site + 1]!; k++) {
      room -= rate[choice[k]!]!
      reduced += this.#best[k - first]! - this.#worth[choice[k]! - pointStart[first]!]!
    }
    this.#narrow(site, lambda === 0 ? reduced : reduced + lambda * room)
    const loss = this.#improve(site, lambda, choice, room, reduced, epsilon)
    this.#bestLoss = loss
    const isExact = loss <= epsilon || this.#searchCore(site, lambda, epsilon)
    if (this.#bestLoss < loss - epsilon) this.#take(site, choice)
    return { worth: relaxed - this.#bestLoss, bound: isExact ? relaxed - this.#bestLoss : relaxed, relaxed }
  }

  /** What all points are worth, and each place's best. @returns What the best are worth. */
  #price(site: number, { mu, nu, lambda, gamma }: SitePrices, choice: Int32Array): number {
    const { siteStart, pointStart, pointCount, rate, power, utility, carbon } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const ratePrice = lambda + gamma
    const worth = this.#worth
    let sum = 0
    for (let k = first; k < last; k++) {
      const powerPrice = mu + nu * carbon[k]!
      const from = pointStart[k]!
      const to = pointStart[k]! + pointCount[k]!
      // The choice is the best most often: from there on both ways, little is better. Of equals the first.
      let base = choice[k]!
      let best = utility[base]! - powerPrice * power[base]! - ratePrice * rate[base]!
      worth[base - origin] = best
      for (let point = base + 1; point < to; point++) {
        const w = utility[point]! - powerPrice * power[point]! - ratePrice * rate[point]!
        worth[point - origin] = w
        if (w > best) {
          best = w
          base = point
        }
      }
      for (let point = choice[k]! - 1; point >= from; point--) {
        const w = utility[point]! - powerPrice * power[point]! - ratePrice * rate[point]!
        worth[point - origin] = w
        if (w >= best) {
          best = w
          base = point
        }
      }
      this.#base[k - first] = base
      this.#best[k - first] = best
      sum += best
    }
    return sum
  }

  /** List the points whose reduced cost is below a loss: no other can lessen it, for no part of a loss is negative. */
  #narrow(site: number, loss: number): void {
    const { siteStart, pointStart, pointCount } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const worth = this.#worth
    const [points, costs] = [this.#point, this.#reduced]
    let end = 0
    for (let k = first; k < last; k++) {
      const from = pointStart[k]!
      const to = pointStart[k]! + pointCount[k]!
      const best = this.#best[k - first]!
      const base = this.#base[k - first]!
      const start = end
      for (let point = from; point < to; point++) {
        const cost = best - worth[point - origin]!
        points[end] = point
        costs[end] = cost
        end += Number(cost < loss)
      }
      let least = Number.POSITIVE_INFINITY
      for (let i = start; i < end; i++) if (costs[i]! < least && points[i] !== base) least = costs[i]!
      this.#start[k - first] = start
      this.#least[k - first] = least
    }
    this.#start[last - first] = end
  }

  /** Single steps that fit, the best first. @returns The loss that remains. */
  #improve(
    site: number,
    lambda: number,
    choice: Int32Array,
    roomBefore: number,
    reducedBefore: number,
    epsilon: number,
  ): number {
    const { siteStart, pointStart, rate } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const [worth, points, costs, start] = [this.#worth, this.#point, this.#reduced, this.#start]
    const costOf = (k: number): number => this.#best[k - first]! - worth[choice[k]! - origin]!
    let room = roomBefore
    let reduced = reducedBefore
    for (;;) {
      let bestGain = epsilon
      let place = -1
      let to = -1
      for (let k = first; k < last; k++) {
        const nowRate = rate[choice[k]!]!
        const nowCost = costOf(k)
        const end = start[k + 1 - first]!
        for (let i = start[k - first]!; i < end; i++) {
          const more = rate[points[i]!]! - nowRate
          const gain = nowCost - costs[i]! + lambda * more
          if (gain > bestGain && more <= room) {
            bestGain = gain
            place = k
            to = i
          }
        }
      }
      if (place < 0) return lambda === 0 ? reduced : reduced + lambda * room
      room -= rate[points[to]!]! - rate[choice[place]!]!
      reduced += costs[to]! - costOf(place)
      choice[place] = points[to]!
    }
  }

  /** @returns Whether the search ended: then no choice loses less than the best one found. */
  #searchCore(site: number, lambda: number, epsilon: number): boolean {
    const { siteStart, siteRate, rate } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const capacity = siteRate[site]!
    const least = this.#least
    const core: number[] = []
    let used = 0
    for (let k = first; k < last; k++) {
      used += rate[this.#base[k - first]!]!
      if (least[k - first]! < this.#bestLoss) core.push(k)
    }
    core.sort((a, b) => least[a - first]! - least[b - first]! || a - b)

    this.#nodes = 0
    this.#bestNode = -1
    const root = this.#states
    root.used[0] = used
    root.loss[0] = 0
    root.node[0] = -1
    root.count = 1
    if (used <= capacity) this.#record(lambda * (capacity - used), -1, epsilon)
    for (let i = 0; i < core.length; i++) {
      const k = core[i]!
      if (least[k - first]! >= this.#bestLoss) break
      const next = i + 1 < core.length ? least[core[i + 1]! - first]! : Number.POSITIVE_INFINITY
      const base = this.#base[k - first]!
      const old = this.#states
      for (let j = this.#start[k - first]!; j < this.#start[k + 1 - first]!; j++) {
        const point = this.#point[j]!
        const reduced = this.#reduced[j]!
        if (point === base || reduced >= this.#bestLoss) continue
        const step = { place: k, point, rate: rate[point]! - rate[base]!, loss: reduced }
        if (!this.#merge(old, step, next, lambda, capacity, epsilon)) return false
      }
    }
    return true
  }

  #record(loss: number, node: number, epsilon: number): void {
    if (loss >= this.#bestLoss - epsilon) return
    this.#bestLoss = loss
    this.#bestNode = node
  }

  /** Add to the states each old state with one more step. @returns False where there is no room for them. */
  #merge(
    old: States,
    step: { place: number; point: number; rate: number; loss: number },
    next: number,
    lambda: number,
    capacity: number,
    epsilon: number,
  ): boolean {
    const grown = this.#states
    const [out, spare] = this.#spares
    const { used: keptUsed, loss: keptLoss, node: keptNode } = grown
    const { used: oldUsed, loss: oldLoss, node: oldNode } = old
    const { place, point, rate: stepRate, loss: stepLoss } = step
    // Behind the last nothing fits any more: so neither list has to be asked whether it ended.
    keptUsed[grown.count] = Number.POSITIVE_INFINITY
    oldUsed[old.count] = Number.POSITIVE_INFINITY
    const all = grown.count + old.count
    let i = 0
    let j = 0
    let count = 0
    let mostWorth = Number.NEGATIVE_INFINITY
    let mostLoss = this.#bestLoss - epsilon
    while (i + j < all) {
      let used = keptUsed[i]!
      let loss = keptLoss[i]!
      let node = keptNode[i]!
      const newUsed = oldUsed[j]! + stepRate
      const newLoss = oldLoss[j]! + stepLoss
      if (used < newUsed || (used === newUsed && loss <= newLoss)) {
        i++
        // Whatever comes after costs at least the next step.
        if (lambda * used - loss <= mostWorth || loss + next >= mostLoss) continue
      } else {
        used = newUsed
        loss = newLoss
        const from = oldNode[j++]!
        if (lambda * used - loss <= mostWorth) continue
        const free = capacity - used
        const isBetter = free >= 0 && loss + lambda * free < mostLoss
        const isHopeless = loss + next >= mostLoss
        if (isHopeless && !isBetter) continue
        if (this.#nodes === MAX_NODES) return false
        node = this.#nodes++
        this.#parent[node] = from
        this.#placeAt[node] = place
        this.#pointAt[node] = point
        if (isBetter) {
          this.#record(loss + lambda * free, node, epsilon)
          mostLoss = this.#bestLoss - epsilon
        }
        if (isHopeless) continue
      }
      if (count === MAX_STATES) return false
      mostWorth = lambda * used - loss
      out.used[count] = used
      out.loss[count] = loss
      out.node[count++] = node
    }
    out.count = count
    this.#states = out
    // What the steps start from is kept until the last of them.
    this.#spares = grown === old ? [spare, grown] : [grown, spare]
    return true
  }

  #take(site: number, choice: Int32Array): void {
    const { siteStart } = this.#tables
    for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) choice[k] = this.#base[k - siteStart[site]!]!
    for (let node = this.#bestNode; node >= 0; node = this.#parent[node]!)
      choice[this.#placeAt[node]!] = this.#pointAt[node]!
  }
}
