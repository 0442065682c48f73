import { formatEmission, formatPower, formatRate } from '@espalier/shared/units'
import type { LimitedRow, Row } from './limits.ts'
import type { Option, SlotInput } from './option.ts'
import { pointName, utilityPerPoint } from './quality.ts'

/** A row as people set it and read it. */
export interface PricedRow {
  readonly key: string
  readonly unit: 'bit/s' | 'W' | 'g/h'
  readonly limit: number
  readonly reserved: number
  readonly planned: number
  readonly margin: number
  readonly isKept: boolean
  /** Utility of one unit more. */
  readonly price: number
  /** The same in words: what a handy amount more is worth in decibels or points of accuracy, and to how many slots. */
  readonly worth: string
}

/** Units of a row's integers in the unit that it is set in, and micro-utility per such an integer in utility per unit. */
const unitOf = (key: string): { unit: PricedRow['unit']; scale: number } => {
  if (key === 'power') return { unit: 'W', scale: 1e3 }
  return key === 'carbon' ? { unit: 'g/h', scale: 1e6 } : { unit: 'bit/s', scale: 1 }
}

/** About a twentieth of a limit, as a power of ten: what somebody might add to it. */
const handy = (limit: number): number => 10 ** Math.round(Math.log10(Math.max(1e-6, limit / 20)))

function amountText(key: string, amount: number): string {
  if (key === 'power') return formatPower(amount)
  if (key === 'carbon') return formatEmission(amount)
  return formatRate(amount)
}

const nameOf = (key: string): string => (key === 'power' || key === 'carbon' ? 'the fleet' : key)

/**
 * @param price Micro-utility per integer unit of the row.
 * @example '1 Mbit/s more for site:north is worth 0.40 dB on 12 slots'
 */
export function priceRow(
  { key, members }: LimitedRow,
  row: Row,
  price: number,
  slots: readonly SlotInput[],
  chosen: readonly Option[],
  isHeld: (slot: number) => boolean,
): PricedRow {
  const { unit, scale } = unitOf(key)
  const limit = row.total / scale
  const perUnit = (price * scale) / 1e6
  const amount = handy(limit)
  const more = `${amountText(key, amount)} more for ${nameOf(key)}`
  const worthText = (utility: number): string => {
    const held = members.filter(isHeld)
    const perPoint = held.reduce(
      (sum, i) => sum + utilityPerPoint(chosen[i]!.prediction, chosen[i]!.configuration.frameRate, slots[i]!.birth),
      0,
    )
    const points = new Set(held.map((i) => pointName(chosen[i]!.prediction)))
    // Decibels and accuracy have no common measure but utility.
    if (points.size !== 1 || !(perPoint > 0)) return `${utility.toPrecision(2)} utility`
    return `${(utility / perPoint).toPrecision(2)} ${[...points].join()} on ${held.length} ${held.length === 1 ? 'slot' : 'slots'}`
  }
  const missing = (row.planned + row.margin + row.reserved - row.total) / scale
  const unpriced = row.isKept
    ? `${nameOf(key)} has enough: more is worth nothing`
    : `${nameOf(key)} needs ${amountText(key, missing)} more`
  let worth: string | undefined
  return {
    key,
    unit,
    limit,
    reserved: row.reserved / scale,
    planned: row.planned / scale,
    margin: row.margin / scale,
    isKept: row.isKept,
    price: perUnit,
    // Worked out when somebody reads it: it looks at every slot of the row.
    get worth() {
      worth ??= price > 0 ? `${more} is worth ${worthText(perUnit * amount)}` : unpriced
      return worth
    },
  }
}
