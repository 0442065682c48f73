import type { Prices } from './columns.ts'
import { costOf, type Ledger } from './ledger.ts'
import { refine } from './refine.ts'
import { type Row, roomOf, settle } from './settle.ts'
import type { SiteSolver } from './site-core.ts'
import { cutSteepest } from './steepest.ts'
import type { Tables } from './tables.ts'

/** One slot's move, the best of its kind. */
interface Moves {
  readonly place: Int32Array
  readonly point: Int32Array
  /** The higher the better. */
  readonly score: Float64Array
  readonly weight: Float64Array
  count: number
}

const MAX_ROUNDS = 100
const MAX_FILLS = 12
/** In larger fleets one slot's jump is too small a share to search for. */
const MAX_SEARCHED_SLOTS = 512
/** Pairs of moves are tried among this many. */
const PAIRED_MOVES = 128
const MAX_PAIRS = 32

function placesOf(tables: Tables, row: Row): readonly [number, number] {
  const { cellStart, siteStart, slotAt } = tables
  if (typeof row === 'string') return [0, slotAt.length]
  return [siteStart[cellStart[row.cell]!]!, siteStart[cellStart[row.cell + 1]!]!]
}

function emptyMoves(length: number): Moves {
  return {
    place: new Int32Array(length),
    point: new Int32Array(length),
    score: new Float64Array(length),
    weight: new Float64Array(length),
    count: 0,
  }
}

function push(moves: Moves, place: number, point: number, score: number, weight: number): void {
  moves.place[moves.count] = place
  moves.point[moves.count] = point
  moves.score[moves.count] = score
  moves.weight[moves.count++] = weight
}

/** Numbers of the moves, those first that have the best scores and together weigh no more than the capacity. */
function chooseMoves(moves: Moves, capacity: number): { order: Int32Array; end: number } {
  const order = Int32Array.from({ length: moves.count }, (_, i) => i)
  const { end } = cutSteepest(order, 0, moves.count, moves.score, moves.weight, capacity)
  order.subarray(0, end).sort((a, b) => moves.score[b]! - moves.score[a]! || a - b)
  return { order, end }
}

/** Of each slot, the move that saves most of an exceeded row for what it loses at the prices. */
function listCuts(tables: Tables, prices: Prices, ledger: Ledger, row: Row): Moves {
  const { pointStart, pointCount, rate, power, utility, carbon, isStuck, siteOfPlace } = tables
  const [first, last] = placesOf(tables, row)
  const moves = emptyMoves(last - first)
  const missing = -roomOf(ledger, row)
  for (let k = first; k < last; k++) {
    if (isStuck[siteOfPlace[k]!] === 1 || (row === 'carbon' && carbon[k] === 0)) continue
    const now = ledger.choice[k]!
    const worth = utility[now]! - costOf(tables, prices, k, now)
    let [best, to, weight] = [Number.NEGATIVE_INFINITY, -1, 0]
    for (let point = pointStart[k]!; point < pointStart[k]! + pointCount[k]!; point++) {
      const saved =
        typeof row === 'object'
          ? rate[now]! - rate[point]!
          : (power[now]! - power[point]!) * (row === 'carbon' ? carbon[k]! : 1)
      if (saved <= 0 || !ledger.fitsRate(k, point)) continue
      const gain = utility[point]! - costOf(tables, prices, k, point) - worth
      // To save more than what is missing is worth nothing.
      const score = gain / Math.min(saved, missing)
      if (score > best) [best, to, weight] = [score, point, saved]
    }
    if (to >= 0) push(moves, k, to, best, weight)
  }
  return moves
}

/** @returns Whether the row is kept now. */
function cutRow(tables: Tables, prices: Prices, ledger: Ledger, row: Row): boolean {
  for (let round = 0; roomOf(ledger, row) < 0 && round < MAX_ROUNDS; round++) {
    const moves = listCuts(tables, prices, ledger, row)
    if (moves.count === 0) return false
    const { order, end } = chooseMoves(moves, -roomOf(ledger, row))
    // The first always fits: nothing else has moved since it was listed.
    for (let i = 0; i < Math.max(1, end); i++) {
      const move = order[i]!
      if (ledger.fitsRate(moves.place[move]!, moves.point[move]!)) ledger.move(moves.place[move]!, moves.point[move]!)
    }
  }
  return roomOf(ledger, row) >= 0
}

/** Of each slot, the move that gains most utility for what it takes, where there is room for it. */
function listGains(tables: Tables, prices: Prices, ledger: Ledger): Moves {
  const { pointStart, pointCount, rate, utility, isStuck, siteOfPlace, cellOfSite } = tables
  const { choice, siteRoom, cellRoom } = ledger
  const moves = emptyMoves(choice.length)
  for (let k = 0; k < choice.length; k++) {
    const site = siteOfPlace[k]!
    if (isStuck[site] === 1) continue
    const now = choice[k]!
    const end = pointStart[k]! + pointCount[k]!
    const nowUtility = utility[now]!
    const mostRate = rate[now]! + Math.max(0, Math.min(siteRoom[site]!, cellRoom[cellOfSite[site]!]!))
    let best = 0
    let to = -1
    let weight = 0
    for (let point = pointStart[k]!; point < end; point++) {
      // Asked together, this is almost always no, and a processor foresees that; one after the other it does not.
      if ((Number(utility[point]! > nowUtility) & Number(rate[point]! <= mostRate)) === 0) continue
      if (!ledger.fitsPower(k, point)) continue
      const gain = utility[point]! - nowUtility
      // Free gains come first, the greatest before all; 1 micro-utility is the least that there is.
      const taken = Math.max(1e-3, costOf(tables, prices, k, point) - costOf(tables, prices, k, now))
      if (gain / taken <= best) continue
      best = gain / taken
      to = point
      weight = taken
    }
    if (to >= 0) push(moves, k, to, best, weight)
  }
  return moves
}

/** What all free room would cost at the prices. */
function valueOfRoom(prices: Prices, ledger: Ledger): number {
  const worth = (price: number, room: number): number => (price > 0 && room > 0 ? price * room : 0)
  let sum = worth(prices.mu, ledger.powerRoom) + worth(prices.nu, ledger.carbonRoom)
  for (let s = 0; s < ledger.siteRoom.length; s++) sum += worth(prices.lambda[s]!, ledger.siteRoom[s]!)
  for (let c = 0; c < ledger.cellRoom.length; c++) sum += worth(prices.gamma[c]!, ledger.cellRoom[c]!)
  return sum
}

function fill(tables: Tables, prices: Prices, ledger: Ledger): void {
  for (let round = 0; round < MAX_FILLS; round++) {
    const moves = listGains(tables, prices, ledger)
    if (moves.count === 0) return
    const { order, end } = chooseMoves(moves, valueOfRoom(prices, ledger))
    for (let i = 0; i < Math.max(1, end); i++) {
      const [place, point] = [moves.place[order[i]!]!, moves.point[order[i]!]!]
      if (ledger.fitsPower(place, point) && ledger.fitsRate(place, point)) ledger.move(place, point)
    }
  }
}

/** The moves that lose least at the prices, whether or not they fit. */
function listNearest(tables: Tables, prices: Prices, ledger: Ledger, most: number): Moves {
  const { pointStart, pointCount, utility, isStuck, siteOfPlace } = tables
  const all = emptyMoves(pointStart[ledger.choice.length]!)
  for (let k = 0; k < ledger.choice.length; k++) {
    if (isStuck[siteOfPlace[k]!] === 1) continue
    const now = ledger.choice[k]!
    const worth = utility[now]! - costOf(tables, prices, k, now)
    for (let point = pointStart[k]!; point < pointStart[k]! + pointCount[k]!; point++) {
      const loss = worth - utility[point]! + costOf(tables, prices, k, point)
      if (point !== now && loss < most) push(all, k, point, -loss, 1)
    }
  }
  const { order, end } = chooseMoves(all, PAIRED_MOVES)
  const nearest = emptyMoves(end)
  for (const move of order.subarray(0, end))
    push(nearest, all.place[move]!, all.point[move]!, all.score[move]!, all.weight[move]!)
  return nearest
}

/** One slot takes what another gives back, anywhere in the fleet, as long as utility is gained by it. */
function exchange(tables: Tables, prices: Prices, ledger: Ledger, bound: number): void {
  const { siteOfPlace, cellOfSite, rate, power, utility, carbon } = tables
  for (let round = 0; round < MAX_PAIRS && ledger.value < bound; round++) {
    const { place, point, count } = listNearest(tables, prices, ledger, bound - ledger.value)
    const of = (field: Float64Array) =>
      Float64Array.from({ length: count }, (_, i) => field[point[i]!]! - field[ledger.choice[place[i]!]!]!)
    const [rates, powers, gains] = [of(rate), of(power), of(utility)]
    let [best, a, b] = [0, -1, -1]
    for (let i = 0; i < count; i++) {
      const site = siteOfPlace[place[i]!]!
      const cell = cellOfSite[site]!
      for (let j = i + 1; j < count; j++) {
        const gain = gains[i]! + gains[j]!
        if (gain <= best || place[i] === place[j]) continue
        const watts = powers[i]! + powers[j]!
        if (watts > 0 && watts > ledger.powerRoom) continue
        const grams = powers[i]! * carbon[place[i]!]! + powers[j]! * carbon[place[j]!]!
        if (grams > 0 && grams > ledger.carbonRoom) continue
        const other = siteOfPlace[place[j]!]!
        const isSame = site === other
        const more = isSame ? rates[i]! + rates[j]! : rates[i]!
        if (more > 0 && more > ledger.siteRoom[site]!) continue
        if (!isSame && rates[j]! > 0 && rates[j]! > ledger.siteRoom[other]!) continue
        const otherCell = cellOfSite[other]!
        const cellMore = cell === otherCell ? rates[i]! + rates[j]! : rates[i]!
        if (cellMore > 0 && cellMore > ledger.cellRoom[cell]!) continue
        if (cell !== otherCell && rates[j]! > 0 && rates[j]! > ledger.cellRoom[otherCell]!) continue
        ;[best, a, b] = [gain, i, j]
      }
    }
    if (a < 0) return
    ledger.move(place[a]!, point[a]!)
    ledger.move(place[b]!, point[b]!)
  }
}

/**
 * Sites are solved one by one; together they may use a little more or less than gateways and fleet allow. Cut what is
 * too much where it costs least, then use what is free where it gains most.
 *
 * @param prices In sweeping order.
 * @param bound No choice has more value than this.
 * @returns Whether the fleet's limits are kept.
 */
export function repair(tables: Tables, siteSolver: SiteSolver, prices: Prices, ledger: Ledger, bound: number): boolean {
  const rows: Row[] = ['power', 'carbon']
  for (let cell = 0; cell < tables.cellRate.length; cell++)
    if (tables.gatewayAt[cell]! >= 0 && tables.isCellStuck[cell] === 0) rows.unshift({ cell })
  const trial = new Int32Array(ledger.choice.length)
  for (const row of rows) settle(tables, siteSolver, prices, ledger, row, trial)
  let isKept = true
  for (const row of rows) isKept = cutRow(tables, prices, ledger, row) && isKept
  if (!isKept) return false
  fill(tables, prices, ledger)
  if (ledger.choice.length <= MAX_SEARCHED_SLOTS) {
    exchange(tables, prices, ledger, bound)
    fill(tables, prices, ledger)
    refine(tables, prices, ledger)
  }
  return true
}
