import { type Filter, predictedVariance, startFilter, updateFilter } from './filter.ts'

/** How a configuration deviates from what its device's common factor says; natural logarithm. */
interface Residual {
  readonly mean: number
  readonly variance: number
}

/**
 * One physical cause on one device (slowdown, content, power): a factor that all configurations share, and what is
 * particular to each one that ran. A reading on any configuration informs all; one that never ran stays uncertain.
 */
export interface Factor {
  readonly common: Filter
  readonly residuals: ReadonlyMap<string, Residual>
}

/** Cards are off by about 6 % from one configuration to the next of a device (reference measurements). */
const UNTRIED: Residual = { mean: 0, variance: 0.06 ** 2 }

export function startFactor(prior: { mean: number; variance: number; noise: number }): Factor {
  return { common: startFilter(prior), residuals: new Map() }
}

/**
 * Take in the logarithm of measured / nominal under a configuration. What surprises is shared between the factor and
 * the residual in proportion to their variances; a reading that the gate refuses changes neither.
 */
export function updateFactor(factor: Factor, configuration: string, logRatio: number): Factor {
  const { common, residuals } = factor
  const residual = residuals.get(configuration) ?? UNTRIED
  const next = updateFilter(common, logRatio - residual.mean, 1, residual.variance)
  if (next.readings === common.readings) return { common: next, residuals }
  const total = predictedVariance(common) + common.noise + residual.variance
  const gain = residual.variance / total
  // After a jump the difference belongs to the factor: it was the device that changed.
  const difference =
    Math.min(3, Math.max(-3, (logRatio - residual.mean - common.mean) / Math.sqrt(total))) * Math.sqrt(total)
  const learned = {
    mean: residual.mean + (common.surprise === 0 ? gain * difference : 0),
    variance: Math.max(1e-5, (1 - gain) * residual.variance),
  }
  return { common: next, residuals: new Map(residuals).set(configuration, learned) }
}

/** Logarithm of what the next reading under a configuration will be, without the noise of reading it. */
export function predictFactor(factor: Factor, configuration: string): { mean: number; variance: number } {
  const residual = factor.residuals.get(configuration) ?? UNTRIED
  return { mean: factor.common.mean + residual.mean, variance: predictedVariance(factor.common) + residual.variance }
}
