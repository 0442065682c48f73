/**
 * Wald's sequential probability ratio test for a share: is it at most `acceptable`, or at least `unacceptable`?
 *
 * With L the sum of log likelihood ratios, "unacceptable" is decided at L >= ln((1 - beta) / alpha), "acceptable" at
 * L <= ln(beta / (1 - alpha)). At the first share it errs with probability at most about `alpha`, at the second with at
 * most about `beta`, for independent observations. A share between the two is decided either way.
 *
 * @see A. Wald, Sequential Tests of Statistical Hypotheses, Annals of Mathematical Statistics 16 (1945), 117-186
 */
export interface SequentialTest {
  /** In (0, 1), `acceptable` < `unacceptable`. */
  readonly acceptable: number
  readonly unacceptable: number
  readonly alpha: number
  readonly beta: number
}

export interface Tally {
  /** Observations that exceeded, of all. */
  readonly exceeded: number
  readonly observed: number
}

/** > 0: more like the unacceptable share. */
export function logLikelihoodRatio(
  { acceptable, unacceptable }: SequentialTest,
  { exceeded, observed }: Tally,
): number {
  const up = Math.log(unacceptable / acceptable)
  const down = Math.log((1 - unacceptable) / (1 - acceptable))
  return exceeded * up + (observed - exceeded) * down
}

export type Decision = 'acceptable' | 'unacceptable' | 'open'

export function decide(test: SequentialTest, tally: Tally): Decision {
  const ratio = logLikelihoodRatio(test, tally)
  if (ratio >= Math.log((1 - test.beta) / test.alpha)) return 'unacceptable'
  return ratio <= Math.log(test.beta / (1 - test.alpha)) ? 'acceptable' : 'open'
}
