import { carbonOf, type LimitedRow } from './limits.ts'
import type { Option, SlotInput } from './option.ts'

export interface Lease {
  readonly rateBps?: number
  readonly powerW?: number
}

/** Leases add up to at most this share of a budget: the rest covers frames that are under way. */
export const LEASED_SHARE = 0.97

/**
 * Divide what a row may carry in proportion to what is planned on it.
 *
 * @param fixed Parts that are not shared out: each keeps its own.
 */
function divide(total: number, planned: Float64Array, fixed: Float64Array): Float64Array {
  let [allFixed, allMovable] = [0, 0]
  for (let i = 0; i < planned.length; i++) {
    allFixed += fixed[i]!
    allMovable += Math.max(0, planned[i]! - fixed[i]!)
  }
  const rest = Math.max(0, LEASED_SHARE * (total - allFixed))
  // Below the fixed parts even they must shrink.
  const scale = Math.min(1, total / Math.max(1, allFixed))
  return planned.map((p, i) => {
    const share = allMovable > 0 ? Math.max(0, p - fixed[i]!) / allMovable : 1 / planned.length
    return Math.floor(scale * fixed[i]! + share * rest)
  })
}

/** Each slot's part of every row that it is in; where two rows limit the same, the smaller part. */
export function divideLeases(
  rows: readonly LimitedRow[],
  slots: readonly SlotInput[],
  chosen: readonly Option[],
): Lease[] {
  const rates = new Float64Array(slots.length).fill(Number.POSITIVE_INFINITY)
  const powers = new Float64Array(slots.length).fill(Number.POSITIVE_INFINITY)
  for (const { key, limit, members, mean, fixed } of rows) {
    const isRate = key.startsWith('site:') || key.startsWith('gateway:')
    const planned = new Float64Array(members.length)
    const idle = new Float64Array(members.length)
    for (let k = 0; k < members.length; k++) {
      const i = members[k]!
      planned[k] = mean(chosen[i]!, slots[i]!)
      idle[k] = fixed(slots[i]!)
    }
    const total = Math.max(0, limit.total - (isRate ? limit.reserved / LEASED_SHARE : limit.reserved))
    const parts = divide(total, planned, idle)
    for (let k = 0; k < members.length; k++) {
      const i = members[k]!
      const perMw = key === 'carbon' ? carbonOf(slots[i]!) : 1
      if (isRate) rates[i] = Math.min(rates[i]!, parts[k]!)
      else if (perMw > 0) powers[i] = Math.min(powers[i]!, Math.floor(parts[k]! / perMw))
    }
  }
  return slots.map((slot, i) => {
    const powerW = Math.min(powers[i]! / 1000, slot.maxPowerW ?? Number.POSITIVE_INFINITY)
    const lease: { rateBps?: number; powerW?: number } = {}
    if (rates[i] !== Number.POSITIVE_INFINITY) lease.rateBps = rates[i]!
    if (powerW !== Number.POSITIVE_INFINITY) lease.powerW = powerW
    return lease
  })
}
