import type { Prices } from './columns.ts'
import type { Tables } from './tables.ts'

/** What a choice leaves of every limit, kept up to date move by move. Prices are in sweeping order. */
export class Ledger {
  readonly siteRoom: Float64Array
  readonly cellRoom: Float64Array
  powerRoom: number
  carbonRoom: number
  /** Micro-utility of the choice. */
  value: number
  readonly choice: Int32Array
  readonly #tables: Tables

  constructor(tables: Tables, choice: Int32Array) {
    const { siteRate, cellRate, cellOfSite, siteStart, limits, rate, power, utility, carbon } = tables
    this.#tables = tables
    this.choice = choice
    this.siteRoom = siteRate.slice()
    this.cellRoom = cellRate.slice()
    let [value, powerMw, carbonUgPerH] = [0, 0, 0]
    for (let site = 0; site < siteRate.length; site++) {
      let used = 0
      for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) {
        const point = choice[k]!
        used += rate[point]!
        powerMw += power[point]!
        carbonUgPerH += power[point]! * carbon[k]!
        value += utility[point]!
      }
      this.siteRoom[site]! -= used
      this.cellRoom[cellOfSite[site]!]! -= used
    }
    this.value = value
    this.powerRoom = limits.powerMw - powerMw
    this.carbonRoom = limits.carbonUgPerH - carbonUgPerH
  }

  move(place: number, point: number): void {
    const { cellOfSite, siteOfPlace, rate, power, utility, carbon } = this.#tables
    const now = this.choice[place]!
    const site = siteOfPlace[place]!
    const more = rate[point]! - rate[now]!
    const morePower = power[point]! - power[now]!
    this.siteRoom[site]! -= more
    this.cellRoom[cellOfSite[site]!]! -= more
    this.powerRoom -= morePower
    this.carbonRoom -= morePower * carbon[place]!
    this.value += utility[point]! - utility[now]!
    this.choice[place] = point
  }

  /** Take a slot out; it must enter again before anything else is asked of it. */
  leave(place: number): void {
    this.#add(place, this.choice[place]!, -1)
  }

  enter(place: number, point: number): void {
    this.choice[place] = point
    this.#add(place, point, 1)
  }

  #add(place: number, point: number, sign: number): void {
    const { cellOfSite, siteOfPlace, rate, power, utility, carbon } = this.#tables
    const site = siteOfPlace[place]!
    this.siteRoom[site]! -= sign * rate[point]!
    this.cellRoom[cellOfSite[site]!]! -= sign * rate[point]!
    this.powerRoom -= sign * power[point]!
    this.carbonRoom -= sign * power[point]! * carbon[place]!
    this.value += sign * utility[point]!
  }

  isKept(site: number, cell: number): boolean {
    return this.siteRoom[site]! >= 0 && this.cellRoom[cell]! >= 0 && this.powerRoom >= 0 && this.carbonRoom >= 0
  }

  /** Whether all limits would be kept after a move, where now they may not be. */
  keepsWith(place: number, point: number): boolean {
    const { cellOfSite, siteOfPlace, rate, power, carbon } = this.#tables
    const site = siteOfPlace[place]!
    const more = rate[point]! - rate[this.choice[place]!]!
    const morePower = power[point]! - power[this.choice[place]!]!
    return (
      more <= this.siteRoom[site]! &&
      more <= this.cellRoom[cellOfSite[site]!]! &&
      morePower <= this.powerRoom &&
      morePower * carbon[place]! <= this.carbonRoom
    )
  }

  /** Whether a move fits the rates; one that needs no more always does. */
  fitsRate(place: number, point: number): boolean {
    const { cellOfSite, siteOfPlace, rate } = this.#tables
    const more = rate[point]! - rate[this.choice[place]!]!
    const site = siteOfPlace[place]!
    return more <= 0 || (more <= this.siteRoom[site]! && more <= this.cellRoom[cellOfSite[site]!]!)
  }

  fitsPower(place: number, point: number): boolean {
    const { power, carbon } = this.#tables
    const more = power[point]! - power[this.choice[place]!]!
    return more <= 0 || (more <= this.powerRoom && more * carbon[place]! <= this.carbonRoom)
  }
}

/** What a point takes of everything that has a price, in micro-utility. */
export function costOf(tables: Tables, prices: Prices, place: number, point: number): number {
  const { cellOfSite, siteOfPlace, rate, power, carbon } = tables
  const site = siteOfPlace[place]!
  const ratePrice = prices.lambda[site]! + prices.gamma[cellOfSite[site]!]!
  return (prices.mu + prices.nu * carbon[place]!) * power[point]! + ratePrice * rate[point]!
}
