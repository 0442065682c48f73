import type { Prices } from './columns.ts'
import { costOf, type Ledger } from './ledger.ts'
import type { Tables } from './tables.ts'

/** Plans looked at for one site at each width. */
const MAX_PLANS = 40_000
/** Widths: shares of the present loss that the reduced costs of a plan may add up to. */
const WIDTHS = [0.125, 0.25, 0.5, 1]
const MAX_ROUNDS = 4

/** One site with all else held as it is. */
class Refinement {
  readonly #tables: Tables
  readonly #ledger: Ledger
  readonly #cell: number
  readonly #base: Int32Array
  readonly #first: number
  readonly #reduced: Float64Array
  readonly #origin: number
  readonly #least: Float64Array
  readonly #core: number[] = []
  /** The plan at hand: what it leaves, and its points. */
  readonly #plan: Int32Array
  #rateRoom: number
  #cellRoom: number
  #powerRoom: number
  #carbonRoom: number
  #value = 0
  #best: Int32Array | undefined
  #bestValue = 0
  #plans = 0
  /** Utility that nothing can exceed, without reduced costs. */
  readonly #ceiling: number

  constructor(tables: Tables, prices: Prices, ledger: Ledger, site: number) {
    const { siteStart, pointStart, pointCount, cellOfSite, utility } = tables
    this.#tables = tables
    this.#ledger = ledger
    this.#cell = cellOfSite[site]!
    this.#first = siteStart[site]!
    const last = siteStart[site + 1]!
    this.#origin = pointStart[this.#first]!
    this.#base = new Int32Array(last - this.#first)
    this.#least = new Float64Array(last - this.#first)
    this.#reduced = new Float64Array(pointStart[last]! - this.#origin)
    this.#rateRoom = ledger.siteRoom[site]!
    this.#cellRoom = ledger.cellRoom[this.#cell]!
    this.#powerRoom = ledger.powerRoom
    this.#carbonRoom = ledger.carbonRoom
    this.#plan = ledger.choice.slice(this.#first, last)
    const paid = (price: number, room: number): number => (price > 0 ? price * room : 0)
    let ceiling = 0
    for (let k = this.#first; k < last; k++) {
      const [from, to] = [pointStart[k]!, pointStart[k]! + pointCount[k]!]
      let best = Number.NEGATIVE_INFINITY
      for (let point = from; point < to; point++) {
        const worth = utility[point]! - costOf(tables, prices, k, point)
        this.#reduced[point - this.#origin] = worth
        if (worth > best) {
          best = worth
          this.#base[k - this.#first] = point
        }
      }
      let least = Number.POSITIVE_INFINITY
      for (let point = from; point < to; point++) {
        this.#reduced[point - this.#origin] = best - this.#reduced[point - this.#origin]!
        if (point !== this.#base[k - this.#first]) least = Math.min(least, this.#reduced[point - this.#origin]!)
      }
      this.#least[k - this.#first] = least
      ceiling += best + costOf(tables, prices, k, ledger.choice[k]!)
      this.#value += utility[ledger.choice[k]!]!
    }
    ceiling += paid(prices.mu, this.#powerRoom) + paid(prices.nu, this.#carbonRoom)
    ceiling += paid(prices.lambda[site]!, this.#rateRoom) + paid(prices.gamma[this.#cell]!, this.#cellRoom)
    this.#ceiling = ceiling
    this.#bestValue = this.#value
    for (let k = this.#first; k < last; k++) this.#move(k, this.#base[k - this.#first]!)
  }

  /** @returns Whether the ledger has a better choice now. */
  run(): boolean {
    const gap = this.#ceiling - this.#bestValue
    for (let k = this.#first; k < this.#first + this.#base.length; k++)
      if (this.#least[k - this.#first]! < gap) this.#core.push(k)
    this.#core.sort((a, b) => this.#least[a - this.#first]! - this.#least[b - this.#first]! || a - b)
    this.#look()
    for (const width of WIDTHS) {
      this.#plans = 0
      this.#extend(0, 0, this.#ceiling - width * gap)
    }
    if (this.#best === undefined) return false
    for (const [i, point] of this.#best.entries())
      if (point !== this.#ledger.choice[this.#first + i]) this.#ledger.move(this.#first + i, point)
    return true
  }

  /** Go through the plans that leave the best points of ever more slots, cheapest first. */
  #extend(from: number, loss: number, floor: number): void {
    const { pointStart, pointCount } = this.#tables
    for (let i = from; i < this.#core.length; i++) {
      const k = this.#core[i]!
      if (!this.#isOpen(loss + this.#least[k - this.#first]!, floor)) return
      const base = this.#base[k - this.#first]!
      for (let point = pointStart[k]!; point < pointStart[k]! + pointCount[k]!; point++) {
        const next = loss + this.#reduced[point - this.#origin]!
        if (point === base || !this.#isOpen(next, floor)) continue
        if (this.#plans++ > MAX_PLANS) return
        this.#move(k, point)
        this.#look()
        this.#extend(i + 1, next, floor)
        this.#move(k, base)
      }
    }
  }

  #isOpen(loss: number, floor: number): boolean {
    // Utility is whole: less than one more is none.
    return this.#ceiling - loss >= Math.max(floor, this.#bestValue + 1)
  }

  #look(): void {
    const isKept = this.#rateRoom >= 0 && this.#cellRoom >= 0 && this.#powerRoom >= 0 && this.#carbonRoom >= 0
    if (!isKept || this.#value <= this.#bestValue) return
    this.#bestValue = this.#value
    this.#best = this.#plan.slice()
  }

  #move(place: number, to: number): void {
    const { rate, power, utility, carbon } = this.#tables
    const from = this.#plan[place - this.#first]!
    const more = rate[to]! - rate[from]!
    const morePower = power[to]! - power[from]!
    this.#rateRoom -= more
    this.#cellRoom -= more
    this.#powerRoom -= morePower
    this.#carbonRoom -= morePower * carbon[place]!
    this.#value += utility[to]! - utility[from]!
    this.#plan[place - this.#first] = to
  }
}

/**
 * In a small fleet what the fleet's limits leave free is worth as much as all else that is lost. Search each site for a
 * plan that uses it, the others held: a branch and bound over the plans near the prices' own, cut off after a number of
 * plans, so that the answer never depends on the speed of the machine.
 */
export function refine(tables: Tables, prices: Prices, ledger: Ledger): void {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let isBetter = false
    for (let site = 0; site < tables.siteAt.length; site++)
      if (tables.isStuck[site] === 0) isBetter = new Refinement(tables, prices, ledger, site).run() || isBetter
    if (!isBetter) return
  }
}
