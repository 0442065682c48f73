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
  readonly used = new Float64Array(MAX_STATES)
  readonly loss = new Float64Array(MAX_STATES)
  readonly node = new Int32Array(MAX_STATES)
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
  readonly #reduced: Float64Array
  readonly #base: Int32Array
  readonly #least: Float64Array
  #states = new States()
  #grown = new States()
  #merged = new States()
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
    this.#reduced = new Float64Array(points)
    this.#base = new Int32Array(places)
    this.#least = new Float64Array(places)
  }

  /**
   * @param choice Point of each place; the site's part must keep its limit and is improved in place.
   */
  solve(site: number, prices: SitePrices, choice: Int32Array): SiteSolution {
    const { siteRate } = this.#tables
    const { lambda } = prices
    const capacity = siteRate[site]!
    const best = this.#reduce(site, prices)
    const relaxed = best + (lambda === 0 ? 0 : lambda * capacity)
    const epsilon = EPSILON * (1 + Math.abs(relaxed))
    const loss = this.#improve(site, prices, choice, epsilon)
    this.#bestLoss = loss
    const isExact = loss <= epsilon || this.#searchCore(site, lambda, epsilon)
    if (this.#bestLoss < loss - epsilon) this.#take(site, choice)
    return { worth: relaxed - this.#bestLoss, bound: isExact ? relaxed - this.#bestLoss : relaxed, relaxed }
  }

  /** Reduced costs of all points, each place's best point and the least that leaving it costs. @returns What the best are worth. */
  #reduce(site: number, { mu, nu, lambda, gamma }: SitePrices): number {
    const { siteStart, pointStart, pointCount, rate, power, utility, carbon } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const ratePrice = lambda + gamma
    const reduced = this.#reduced
    let sum = 0
    for (let k = first; k < last; k++) {
      const powerPrice = mu + nu * carbon[k]!
      const [from, to] = [pointStart[k]!, pointStart[k]! + pointCount[k]!]
      let best = Number.NEGATIVE_INFINITY
      for (let point = from; point < to; point++) {
        const worth = utility[point]! - powerPrice * power[point]! - ratePrice * rate[point]!
        reduced[point - origin] = worth
        if (worth > best) {
          best = worth
          this.#base[k - first] = point
        }
      }
      const base = this.#base[k - first]!
      let least = Number.POSITIVE_INFINITY
      for (let point = from; point < to; point++) {
        const loss = best - reduced[point - origin]!
        reduced[point - origin] = loss
        if (loss < least && point !== base) least = loss
      }
      this.#least[k - first] = least
      sum += best
    }
    return sum
  }

  /** Single steps that fit, the best first. @returns The loss that remains. */
  #improve(site: number, { lambda }: SitePrices, choice: Int32Array, epsilon: number): number {
    const { siteStart, siteRate, pointStart, pointCount, rate } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const reduced = this.#reduced
    let room = siteRate[site]!
    let loss = 0
    for (let k = first; k < last; k++) {
      room -= rate[choice[k]!]!
      loss += reduced[choice[k]! - origin]!
    }
    for (;;) {
      let [bestGain, place, to] = [epsilon, -1, -1]
      for (let k = first; k < last; k++) {
        const now = choice[k]!
        const end = pointStart[k]! + pointCount[k]!
        const [nowRate, nowReduced] = [rate[now]!, reduced[now - origin]!]
        for (let point = pointStart[k]!; point < end; point++) {
          const more = rate[point]! - nowRate
          if (more > room) break
          const gain = nowReduced - reduced[point - origin]! + lambda * more
          if (gain > bestGain) [bestGain, place, to] = [gain, k, point]
        }
      }
      if (place < 0) break
      const now = choice[place]!
      room -= rate[to]! - rate[now]!
      loss += reduced[to - origin]! - reduced[now - origin]!
      choice[place] = to
    }
    return lambda === 0 ? loss : loss + lambda * room
  }

  /** @returns Whether the search ended: then no choice loses less than the best one found. */
  #searchCore(site: number, lambda: number, epsilon: number): boolean {
    const { siteStart, siteRate, pointStart, pointCount, rate } = this.#tables
    const [first, last] = [siteStart[site]!, siteStart[site + 1]!]
    const origin = pointStart[first]!
    const capacity = siteRate[site]!
    const core: number[] = []
    let used = 0
    for (let k = first; k < last; k++) {
      used += rate[this.#base[k - first]!]!
      if (this.#least[k - first]! < this.#bestLoss) core.push(k)
    }
    core.sort((a, b) => this.#least[a - first]! - this.#least[b - first]! || a - b)

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
      if (this.#least[k - first]! >= this.#bestLoss) break
      const next = i + 1 < core.length ? this.#least[core[i + 1]! - first]! : Number.POSITIVE_INFINITY
      const base = this.#base[k - first]!
      this.#copy(this.#states, this.#grown)
      for (let point = pointStart[k]!; point < pointStart[k]! + pointCount[k]!; point++) {
        const reduced = this.#reduced[point - origin]!
        if (point === base || reduced >= this.#bestLoss) continue
        const step = { place: k, point, rate: rate[point]! - rate[base]!, loss: reduced }
        if (!this.#merge(step, next, lambda, capacity, epsilon)) return false
      }
      ;[this.#states, this.#grown] = [this.#grown, this.#states]
    }
    return true
  }

  #copy(from: States, to: States): void {
    to.used.set(from.used.subarray(0, from.count))
    to.loss.set(from.loss.subarray(0, from.count))
    to.node.set(from.node.subarray(0, from.count))
    to.count = from.count
  }

  #record(loss: number, node: number, epsilon: number): void {
    if (loss >= this.#bestLoss - epsilon) return
    this.#bestLoss = loss
    this.#bestNode = node
  }

  /** Add to the grown states each state with one more step. @returns False where there is no room for them. */
  #merge(
    step: { place: number; point: number; rate: number; loss: number },
    next: number,
    lambda: number,
    capacity: number,
    epsilon: number,
  ): boolean {
    const [old, grown, out] = [this.#states, this.#grown, this.#merged]
    let [i, j, count] = [0, 0, 0]
    let mostWorth = Number.NEGATIVE_INFINITY
    while (i < grown.count || j < old.count) {
      const keptUsed = i < grown.count ? grown.used[i]! : Number.POSITIVE_INFINITY
      const newUsed = j < old.count ? old.used[j]! + step.rate : Number.POSITIVE_INFINITY
      const newLoss = j < old.count ? old.loss[j]! + step.loss : 0
      const isKept =
        keptUsed < newUsed || (keptUsed === newUsed && j < old.count && i < grown.count && grown.loss[i]! <= newLoss)
      const used = isKept ? keptUsed : newUsed
      const loss = isKept ? grown.loss[i]! : newLoss
      const from = isKept ? grown.node[i++]! : old.node[j++]!
      const worth = lambda * used - loss
      if (worth <= mostWorth) continue
      const free = capacity - used
      const isBetter = !isKept && free >= 0 && loss + lambda * free < this.#bestLoss - epsilon
      // Whatever comes after costs at least the next step.
      const isHopeless = loss + next >= this.#bestLoss - epsilon
      if (isHopeless && !isBetter) continue
      let node = from
      if (!isKept) {
        if (this.#nodes === MAX_NODES) return false
        node = this.#nodes++
        this.#parent[node] = from
        this.#placeAt[node] = step.place
        this.#pointAt[node] = step.point
        if (isBetter) this.#record(loss + lambda * free, node, epsilon)
        if (isHopeless) continue
      }
      if (count === MAX_STATES) return false
      mostWorth = worth
      out.used[count] = used
      out.loss[count] = loss
      out.node[count++] = node
    }
    out.count = count
    ;[this.#grown, this.#merged] = [out, grown]
    return true
  }

  #take(site: number, choice: Int32Array): void {
    const { siteStart } = this.#tables
    for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) choice[k] = this.#base[k - siteStart[site]!]!
    for (let node = this.#bestNode; node >= 0; node = this.#parent[node]!)
      choice[this.#placeAt[node]!] = this.#pointAt[node]!
  }
}
