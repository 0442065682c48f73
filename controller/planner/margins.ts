/** Kept free until something was measured. */
export const START_MARGIN = 0.08
const LEAST_MARGIN = 0.04
const MOST_MARGIN = 0.3
const VIOLATION_STEP = 0.04
/** Toward the least at each check without a violation: halves the distance in about ten minutes of checks at 2 s. */
const RELAXATION = 0.998

/** Adapt a margin share: up at once when the limit was exceeded, down slowly while it is kept. */
export function adaptMargin(margin: number, isViolated: boolean): number {
  if (isViolated) return Math.min(MOST_MARGIN, margin + VIOLATION_STEP)
  return LEAST_MARGIN + RELAXATION * (margin - LEAST_MARGIN)
}
