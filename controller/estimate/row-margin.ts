import { z } from 'zod'
import { adaptK } from './adapt-k.ts'

/** What is learned about how well the plan for one shared limit is kept. Shares of the limit. */
export const rowMarginSchema = z.object({
  k: z.number().positive(),
  /**
   * Variance of (measured - planned) that the estimates do not know of, because what shares a limit changes together: twice the
   * mean square of what is above 0, for only that can break a limit, less what was predicted.
   */
  common: z.number().positive(),
  /** Variance that the estimates predicted of the last plan: falls when few devices carry the load, rises after changes. */
  predicted: z.number().min(0),
  looks: z.int().min(0),
})
export type RowMargin = Readonly<z.infer<typeof rowMarginSchema>>

/** What one look at a limit says. */
export interface RowReading {
  /** (measured - planned) / limit. */
  readonly miss: number
  /**
   * Whether the limit was exceeded by what could have been foreseen: no margin covers an uplink that falls by a third between
   * two plans, and learning from it would only waste the rest of the day.
   */
  readonly isViolated: boolean
  /** Variance of the plan by its estimates, as a share of the limit squared. */
  readonly predicted: number
}

const K = { target: 0.001, step: 0.5, least: 3.9, most: 7 }
/** Also where the estimates say that nothing is uncertain. */
const LEAST_SHARE = 0.005
const MOST_SHARE = 0.3
/** The mean over all looks at first, over two hundred later. */
const lookWeight = (looks: number): number => Math.max(0.005, 1 / (looks + 12))
const LEAST_COMMON = 1e-6

/** 8 % is kept free until something was measured. */
export const startRowMargin: RowMargin = { k: K.least, common: (0.08 / K.least) ** 2, predicted: 0, looks: 0 }

/** Learn from a limit that was planned for and then measured; what is not a number says nothing. */
export function updateRowMargin(
  margin: RowMargin,
  { miss, isViolated, predicted: asPredicted }: RowReading,
): RowMargin {
  if (!Number.isFinite(miss) || !(asPredicted >= 0)) return margin
  const predicted = Math.min(MOST_SHARE ** 2, asPredicted)
  // One surprise counts for no more than three deviations, so that it does not widen the margin for hours.
  const square = Math.min(2 * Math.max(0, miss) ** 2, 9 * (margin.common + predicted))
  return {
    k: adaptK(margin.k, isViolated ? 1 : 0, K),
    common: Math.max(LEAST_COMMON, margin.common + lookWeight(margin.looks) * (square - predicted - margin.common)),
    predicted,
    looks: margin.looks + 1,
  }
}

/** The share of the limit that a plan leaves free. */
export function marginShare({ k, common, predicted }: RowMargin): number {
  return Math.min(MOST_SHARE, Math.max(LEAST_SHARE, k * Math.sqrt(common + predicted)))
}
