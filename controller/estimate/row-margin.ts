import { adaptK } from './adapt-k.ts'

/** What is learned about how well the plan for one shared limit is kept. */
export interface RowMargin {
  readonly k: number
  /** Of (measured - planned) / limit: twice the mean square of what is above 0, for only that can break a limit. */
  readonly variance: number
}

const K = { target: 0.001, step: 0.5, least: 4.2, most: 7 }
const LEAST_SHARE = 0.02
const MOST_SHARE = 0.3
const FORGETTING = 0.01

/** 8 % is kept free until something was measured. */
export const startRowMargin: RowMargin = { k: K.least, variance: (0.08 / K.least) ** 2 }

/**
 * Learn from a limit that was planned for and then measured.
 *
 * @param miss (measured - planned) / limit.
 * @param isViolated Whether the limit was exceeded by what could have been foreseen: no margin covers an uplink that
 *   falls by a third between two plans, and learning from it would only waste the rest of the day.
 */
export function updateRowMargin(
  margin: RowMargin,
  { miss, isViolated }: { miss: number; isViolated: boolean },
): RowMargin {
  if (!Number.isFinite(miss)) return margin
  // One surprise counts for no more than three deviations, so that it does not widen the margin for hours.
  const square = Math.min(2 * Math.max(0, miss) ** 2, 9 * margin.variance)
  return {
    k: adaptK(margin.k, isViolated ? 1 : 0, K),
    variance: margin.variance + FORGETTING * (square - margin.variance),
  }
}

/** The share of the limit that a plan leaves free. */
export function marginShare({ k, variance }: RowMargin): number {
  return Math.min(MOST_SHARE, Math.max(LEAST_SHARE, k * Math.sqrt(variance)))
}
