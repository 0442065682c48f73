import { z } from 'zod'
import { filterSchema, predictedVariance, startFilter, updateFilter } from './filter.ts'

/** How a configuration deviates from what its device's common factor says; natural logarithm. */
const residualSchema = z.object({ mean: z.number(), variance: z.number().min(0) }).readonly()
export type Residual = z.infer<typeof residualSchema>
/** By configuration, or by what of it matters to the cause. */
export type Residuals = Readonly<Record<string, Residual>>

/**
 * One physical cause on one device (slowdown, content, power): a factor that all configurations share, and what is
 * particular to each one that ran. A reading on any configuration informs all; one that never ran stays uncertain.
 */
export const factorSchema = z
  .object({ common: filterSchema, residuals: z.record(z.string(), residualSchema).readonly() })
  .readonly()
export type Factor = z.infer<typeof factorSchema>

/** Cards are off by about 6 % from one configuration to the next of a device (reference measurements). */
export const UNTRIED: Residual = { mean: 0, variance: 0.06 ** 2 }
/** Kept for each device and cause; beyond it the ones that first ran are forgotten. */
const MOST_RESIDUALS = 128
const LEAST_VARIANCE = 1e-5

export function startFactor(prior: { mean: number; variance: number; noise: number }): Factor {
  return { common: startFilter(prior), residuals: {} }
}

const residualOf = (factor: Factor, key: string, peers: Residuals): Residual =>
  factor.residuals[key] ?? peers[key] ?? UNTRIED

function withResidual(residuals: Residuals, key: string, learned: Residual): Residuals {
  const all = { ...residuals, [key]: learned }
  const names = Object.keys(all)
  if (names.length <= MOST_RESIDUALS) return all
  delete all[names.find((name) => name !== key)!]
  return all
}

/**
 * Take in the logarithm of measured / nominal under a configuration. What surprises is shared between the factor and
 * the residual in proportion to their variances; a reading that the gate refuses changes neither.
 *
 * @param peers What devices of the class found: where a configuration starts that never ran here.
 */
export function updateFactor(factor: Factor, key: string, logRatio: number, peers: Residuals = {}): Factor {
  const { common, residuals } = factor
  const residual = residualOf(factor, key, peers)
  const next = updateFilter(common, logRatio - residual.mean, 1, residual.variance)
  if (next.readings === common.readings) return { common: next, residuals }
  const total = predictedVariance(common) + common.noise + residual.variance
  const gain = residual.variance / total
  // After a jump the difference belongs to the factor: it was the device that changed.
  const difference =
    Math.min(3, Math.max(-3, (logRatio - residual.mean - common.mean) / Math.sqrt(total))) * Math.sqrt(total)
  const learned = {
    mean: residual.mean + (common.surprise === 0 ? gain * difference : 0),
    variance: Math.max(LEAST_VARIANCE, (1 - gain) * residual.variance),
  }
  return { common: next, residuals: withResidual(residuals, key, learned) }
}

/** Logarithm of what the next reading under a configuration will be, without the noise of reading it. */
export function predictFactor(factor: Factor, key: string, peers: Residuals = {}): { mean: number; variance: number } {
  const residual = residualOf(factor, key, peers)
  return { mean: factor.common.mean + residual.mean, variance: predictedVariance(factor.common) + residual.variance }
}

/** After a drift: as unsure as the drift was large, and the noise is learned anew. */
export const reopenFactor = ({ common, residuals }: Factor, shift: number): Factor => ({
  common: { ...common, variance: common.variance + shift ** 2, readings: 0 },
  residuals,
})
