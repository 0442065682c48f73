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
function divide(total: number, planned: readonly number[], fixed: readonly number[]): number[] {
  const allFixed = fixed.reduce((a, b) => a + b, 0)
  const movable = planned.map((p, i) => Math.max(0, p - fixed[i]!))
  const allMovable = movable.reduce((a, b) => a + b, 0)
  const rest = Math.max(0, LEASED_SHARE * (total - allFixed))
  // Below the fixed parts even they must shrink.
  const scale = Math.min(1, total / Math.max(1, allFixed))
  return planned.map((_, i) => {
    const share = allMovable > 0 ? movable[i]! / allMovable : 1 / planned.length
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
    const parts = divide(
      Math.max(0, limit.total - (isRate ? limit.reserved / LEASED_SHARE : limit.reserved)),
      members.map((i) => mean(chosen[i]!, slots[i]!)),
      members.map((i) => fixed(slots[i]!)),
    )
    for (const [k, i] of members.entries()) {
      const perMw = key === 'carbon' ? carbonOf(slots[i]!) : 1
      if (isRate) rates[i] = Math.min(rates[i]!, parts[k]!)
      else if (perMw > 0) powers[i] = Math.min(powers[i]!, Math.floor(parts[k]! / perMw))
    }
  }
  return slots.map((slot, i) => {
    const powerW = Math.min(powers[i]! / 1000, slot.maxPowerW ?? Number.POSITIVE_INFINITY)
    return {
      ...(Number.isFinite(rates[i]) ? { rateBps: rates[i]! } : {}),
      ...(Number.isFinite(powerW) ? { powerW } : {}),
    }
  })
}
