/** How many standard deviations a bound lies above the mean, by what happened. */
export interface AdaptK {
  /** Wanted share of violations. */
  readonly target: number
  /** Standard deviations that one violation adds. */
  readonly step: number
  readonly least: number
  readonly most: number
}

/**
 * Adaptive conformal inference: up by `step` at a violation, down by so much less at each success that in the long
 * run the wanted share violates, whatever the distribution (Gibbs and Candes 2021). Above `least` it only reacts:
 * by itself it reaches the target over days, which is too late for an uplink.
 *
 * @param share Of the observations since the last call that violated, 0 to 1.
 */
export function adaptK(k: number, share: number, { target, step, least, most }: AdaptK): number {
  return Math.min(most, Math.max(least, k + step * (share - target)))
}
