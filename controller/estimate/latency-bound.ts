import { adaptK } from './adapt-k.ts'
import { type Factor, predictFactor, type Residuals } from './factor.ts'

/** Misses of a bound on latency that are wanted: 1 %. */
export const NOMINAL_MISS = 0.01
/**
 * One reading's step. All devices of a fleet share k, so that a fleet of 200 moves it by five deviations a round in the
 * worst case, and one device finds it within minutes.
 */
const K = { target: NOMINAL_MISS, step: 0.025, least: 1.5, most: 6 }

/** Standard deviations that a bound on latency lies above the prediction, before anything was learned. */
export const START_LATENCY_K = 2.3

/**
 * Learn from one reading how wide the bound must be. A reading that the gate set aside says nothing: it was a spike, or the
 * next one will say so.
 *
 * @param factor The slowdown before the reading, and after it.
 * @param logRatio Logarithm of measured / nominal.
 */
export function learnLatencyK(
  k: number,
  { before, after }: { readonly before: Factor; readonly after: Factor },
  key: string,
  logRatio: number,
  peers: Residuals = {},
): number {
  if (after.common.readings === before.common.readings) return k
  const { mean, variance } = predictFactor(before, key, peers)
  return adaptK(k, logRatio > mean + k * Math.sqrt(variance + before.common.noise) ? 1 : 0, K)
}
