import type { FleetColumns, FleetLimits } from './columns.ts'
import { FrontierWriter, findLeast, type OptionColumns } from './frontier.ts'

/**
 * The fleet in the order in which it is swept: slots by site, sites by gateway. A cell is a gateway with its sites, or
 * a site alone. What is planned for one cell touches others only through the fleet's limits.
 */
export interface Tables {
  /** Changed by `moveLimits()` alone, with `siteRate` and `cellRate`. */
  limits: FleetLimits
  /** Slots in sweeping order, by position in the columns; and back. */
  readonly slotAt: Int32Array
  readonly placeOf: Int32Array
  /** Sites in sweeping order, by position in the columns. */
  readonly siteAt: Int32Array
  /** Slots of site s: places `siteStart[s]` to `siteStart[s + 1]`. */
  readonly siteStart: Int32Array
  readonly siteOfPlace: Int32Array
  readonly siteRate: Float64Array
  readonly cellStart: Int32Array
  readonly cellOfSite: Int32Array
  readonly cellRate: Float64Array
  /** Gateway of each cell, by position in the columns, or -1. */
  readonly gatewayAt: Int32Array
  /** g/kWh, of each place. */
  readonly carbon: Float64Array
  /** Points of the slot at place k: `pointStart[k]` to `pointStart[k] + pointCount[k]`, its frontier in order of rate, or all its options. */
  readonly pointStart: Int32Array
  readonly pointCount: Int32Array
  readonly rate: Float64Array
  readonly power: Float64Array
  readonly utility: Float64Array
  readonly option: Int32Array
  /** The point of least rate, of each place. */
  readonly least: Int32Array
  /** 1: even the least rates exceed the limit; the site gets those, and no price moves it. */
  readonly isStuck: Uint8Array
  /** 1: that holds for the gateway as a whole. */
  readonly isCellStuck: Uint8Array
  /** Writes the options of one slot after another. */
  readonly frontier: FrontierWriter
}

/** Positions grouped by key, in order within a group. */
function groupBy(keys: ArrayLike<number>, groups: number): { order: Int32Array; start: Int32Array } {
  const start = new Int32Array(groups + 1)
  for (let i = 0; i < keys.length; i++) start[keys[i]! + 1]!++
  for (let g = 0; g < groups; g++) start[g + 1]! += start[g]!
  const next = start.slice()
  const order = new Int32Array(keys.length)
  for (let i = 0; i < keys.length; i++) order[next[keys[i]!]!++] = i
  return { order, start }
}

/** Cells number the gateways first, then each site that has none. */
function listCells({ gatewayOf, gatewayRateBps }: FleetLimits) {
  const gateways = gatewayRateBps.length
  let cells = gateways
  const cellOf = Int32Array.from(gatewayOf, (gateway) => (gateway < 0 ? cells++ : gateway))
  const { order: siteAt, start: cellStart } = groupBy(cellOf, cells)
  const cellRate = new Float64Array(cells).fill(Number.POSITIVE_INFINITY)
  cellRate.set(gatewayRateBps)
  const gatewayAt = Int32Array.from({ length: cells }, (_, c) => (c < gateways ? c : -1))
  return { siteAt, cellStart, cellRate, gatewayAt, cellOfSite: Int32Array.from(siteAt, (s) => cellOf[s]!) }
}

export interface TableOptions {
  /**
   * Whether options that others beat are left out, and the others are sorted by rate. It takes longer than all the rest, and
   * pays where whole choices are searched; the relaxation alone drops them by price and sorts those that are left.
   */
  readonly isPruned?: boolean
  /** Tables that are not used any more: their room is, if it suffices, and its memory need not be faulted in again. */
  readonly room?: Tables | undefined
}

/** Sort and prune a fleet once, for many prices. */
export function makeTables(columns: FleetColumns, { isPruned = true, room }: TableOptions = {}): Tables {
  const { limits, siteOf, start, carbonGPerKwh } = columns
  const { siteAt, ...cells } = listCells(limits)
  const sweepOf = new Int32Array(siteAt.length)
  siteAt.forEach((site, s) => {
    sweepOf[site] = s
  })
  const slots = siteOf.length
  const siteKeys = new Int32Array(slots)
  for (let i = 0; i < slots; i++) siteKeys[i] = sweepOf[siteOf[i]!]!
  const { order: slotAt, start: siteStart } = groupBy(siteKeys, siteAt.length)
  const placeOf = new Int32Array(slots)
  const siteOfPlace = new Int32Array(slots)
  const carbon = new Float64Array(slots)
  const pointStart = new Int32Array(slots + 1)
  const pointCount = new Int32Array(slots)
  const options = start[slots] ?? 0
  const points =
    room !== undefined && room.rate.length >= options
      ? { rate: room.rate, power: room.power, utility: room.utility, option: room.option }
      : {
          rate: new Float64Array(options),
          power: new Float64Array(options),
          utility: new Float64Array(options),
          option: new Int32Array(options),
        }
  const least = new Int32Array(slots)
  const frontier = new FrontierWriter()
  for (let k = 0; k < slots; k++) {
    const slot = slotAt[k]!
    placeOf[slot] = k
    siteOfPlace[k] = siteKeys[slot]!
    carbon[k] = carbonGPerKwh?.[slot] ?? 0
    const from = start[slot]!
    const to = start[slot + 1]!
    const at = pointStart[k]!
    pointStart[k + 1] = at + to - from
    if (isPruned) {
      pointCount[k] = frontier.write(columns, from, to, points, at)
      least[k] = at
    } else {
      pointCount[k] = to - from
      least[k] = at + findLeast(columns, from, to) - from
      for (let i = 0; i < to - from; i++) points.option[at + i] = i
    }
  }
  if (!isPruned) copyPoints(columns, slotAt, pointStart, points)
  const tables: Tables = {
    limits,
    slotAt,
    placeOf,
    siteAt,
    siteStart,
    siteOfPlace,
    siteRate: Float64Array.from(siteAt, (site) => limits.siteRateBps[site]!),
    ...cells,
    carbon,
    pointStart,
    pointCount,
    ...points,
    least,
    isStuck: new Uint8Array(siteAt.length),
    isCellStuck: new Uint8Array(cells.cellRate.length),
    frontier,
  }
  for (let c = 0; c < tables.cellRate.length; c++) markStuck(tables, c)
  return tables
}

/** Copy all options; those of slots that lie one after another in the columns go together. */
function copyPoints(
  { start, rateBps, powerMw, utility }: FleetColumns,
  slotAt: Int32Array,
  pointStart: Int32Array,
  points: Pick<Tables, 'rate' | 'power' | 'utility'>,
): void {
  for (let k = 0, next = 0; k < slotAt.length; k = next) {
    next = k + 1
    while (next < slotAt.length && slotAt[next] === slotAt[next - 1]! + 1) next++
    const [from, to] = [start[slotAt[k]!]!, start[slotAt[next - 1]! + 1]!]
    points.rate.set(rateBps.subarray(from, to), pointStart[k]!)
    points.power.set(powerMw.subarray(from, to), pointStart[k]!)
    points.utility.set(utility.subarray(from, to), pointStart[k]!)
  }
}

function leastRate({ siteStart, least, rate }: Tables, site: number): number {
  let sum = 0
  for (let k = siteStart[site]!; k < siteStart[site + 1]!; k++) sum += rate[least[k]!]!
  return sum
}

/** Give a fleet of the same sites and gateways other limits. */
export function moveLimits(tables: Tables, limits: FleetLimits): void {
  const { siteAt, siteRate, gatewayAt, cellRate } = tables
  tables.limits = limits
  for (let s = 0; s < siteAt.length; s++) siteRate[s] = limits.siteRateBps[siteAt[s]!]!
  for (let c = 0; c < cellRate.length; c++) {
    if (gatewayAt[c]! >= 0) cellRate[c] = limits.gatewayRateBps[gatewayAt[c]!]!
    markStuck(tables, c)
  }
}

/** Find out which sites of a cell cannot keep their limit; must be asked again when their options change. */
export function markStuck(tables: Tables, cell: number): void {
  const { cellStart, siteRate, cellRate, isStuck, isCellStuck } = tables
  let least = 0
  for (let s = cellStart[cell]!; s < cellStart[cell + 1]!; s++) {
    const siteLeast = leastRate(tables, s)
    least += siteLeast
    isStuck[s] = siteLeast > siteRate[s]! ? 1 : 0
  }
  isCellStuck[cell] = least > cellRate[cell]! ? 1 : 0
  if (isCellStuck[cell] === 1) isStuck.fill(1, cellStart[cell]!, cellStart[cell + 1]!)
}

/**
 * Give a slot other options.
 *
 * @returns False, and nothing changed, if there are more of them than the slot ever had: then the tables must be made anew.
 */
export function replaceOptions(tables: Tables, slot: number, options: OptionColumns): boolean {
  const place = tables.placeOf[slot]!
  const at = tables.pointStart[place]!
  const count = options.rateBps.length
  if (count > tables.pointStart[place + 1]! - at) return false
  tables.pointCount[place] = tables.frontier.write(options, 0, count, tables, at)
  tables.least[place] = at
  markStuck(tables, tables.cellOfSite[tables.siteOfPlace[place]!]!)
  return true
}
