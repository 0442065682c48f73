import type { Prices } from './columns.ts'
import type { Ledger } from './ledger.ts'
import type { SitePrices, SiteSolver } from './site-core.ts'
import type { Tables } from './tables.ts'

/** A limit that several sites share. */
export type Row = 'power' | 'carbon' | { readonly cell: number }

/** The first move of a price, as a share. It grows by so much over a round of all sites that nobody answers. */
const FIRST_STEP = 0.001
const GROWTH = 30
const MOST_STEP = 0.2
const ROUNDS = 2
/** In a fleet of few sites they are asked more often, so that more than a few prices are tried. */
const LEAST_ASKED = 48
/** Free room that is worth less than this share of the plan is let be. */
const NEGLIGIBLE = 5e-6

export function roomOf(ledger: Ledger, row: Row): number {
  if (row === 'power') return ledger.powerRoom
  return row === 'carbon' ? ledger.carbonRoom : ledger.cellRoom[row.cell]!
}

function priceOf(prices: Prices, row: Row): number {
  if (row === 'power') return prices.mu
  return row === 'carbon' ? prices.nu : prices.gamma[row.cell]!
}

function sitePrices({ cellOfSite }: Tables, prices: Prices, site: number, row: Row, factor: number): SitePrices {
  const gamma = prices.gamma[cellOfSite[site]!]!
  return {
    lambda: prices.lambda[site]!,
    mu: row === 'power' ? factor * prices.mu : prices.mu,
    nu: row === 'carbon' ? factor * prices.nu : prices.nu,
    gamma: typeof row === 'object' ? factor * gamma : gamma,
  }
}

/** Whether what one site would change fits all limits; a row that is exceeded may become less so. */
function fits(tables: Tables, ledger: Ledger, site: number, more: ReturnType<typeof difference>): boolean {
  const { cellOfSite } = tables
  const isIn = (amount: number, room: number): boolean => amount <= 0 || amount <= room
  return (
    isIn(more.rate, ledger.cellRoom[cellOfSite[site]!]!) &&
    isIn(more.power, ledger.powerRoom) &&
    isIn(more.carbon, ledger.carbonRoom)
  )
}

function difference(tables: Tables, ledger: Ledger, site: number, trial: Int32Array) {
  const { siteStart, rate, power, carbon } = tables
  const more = { rate: 0, power: 0, carbon: 0 }
  for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) {
    const to = trial[k]!
    const from = ledger.choice[k]!
    if (to === from) continue
    more.rate += rate[to]! - rate[from]!
    more.power += power[to]! - power[from]!
    more.carbon += (power[to]! - power[from]!) * carbon[k]!
  }
  return more
}

/**
 * Sites that are exact at the prices use together a little more or less of a shared limit than there is. Ask site by
 * site what it would choose at a price moved a little, and take the answers until the limit is met: each loses at most
 * the price's move times what it saves, far less than any single slot's step would.
 *
 * @param trial Scratch, one point for each place.
 */
export function settle(
  tables: Tables,
  siteSolver: SiteSolver,
  prices: Prices,
  ledger: Ledger,
  row: Row,
  trial: Int32Array,
): void {
  const { cellStart, siteStart, siteAt, isStuck } = tables
  const price = priceOf(prices, row)
  if (!(price > 0)) return
  const [first, last] = typeof row === 'object' ? [cellStart[row.cell]!, cellStart[row.cell + 1]!] : [0, siteAt.length]
  const growth = GROWTH ** (1 / Math.max(8, last - first))
  const asks = Math.max(LEAST_ASKED, ROUNDS * (last - first))
  for (const isCut of [true, false]) {
    let step = FIRST_STEP
    for (let asked = 0; asked < asks; asked++) {
      const s = first + (asked % (last - first))
      const room = roomOf(ledger, row)
      if (isCut ? room >= 0 : room < 0 || price * room <= NEGLIGIBLE * Math.abs(ledger.value)) break
      if (isStuck[s] === 1) continue
      trial.set(ledger.choice.subarray(siteStart[s]!, siteStart[s + 1]!), siteStart[s]!)
      siteSolver.solve(s, sitePrices(tables, prices, s, row, isCut ? 1 + step : 1 - step), trial)
      const more = difference(tables, ledger, s, trial)
      const used = typeof row === 'object' ? more.rate : more[row]
      if (isCut ? used >= 0 : used <= 0) step = Math.min(MOST_STEP, step * growth)
      else if (!fits(tables, ledger, s, more)) step /= growth
      else
        for (let k = siteStart[s]!; k < siteStart[s + 1]!; k++)
          if (trial[k] !== ledger.choice[k]) ledger.move(k, trial[k]!)
    }
  }
}
