import { z } from 'zod'
import { findMetric, type Metric, metrics } from './metrics.ts'

export const OPERATORS = ['>', '>=', '<', '<='] as const
export type Operator = (typeof OPERATORS)[number]

/** What a rule asks. */
export interface Condition {
  readonly metric: Metric
  /** Absent: the metric is a flag. */
  readonly comparison?: {
    readonly operator: Operator
    /** In the metric's unit, or a share of its budget. */
    readonly threshold: number
    readonly isOfBudget: boolean
  }
  /** How long it must be so. */
  readonly forMs: number
}

const FORM =
  /^\s*([a-zA-Z]+\.[a-zA-Z0-9-]+)\s*(?:(>=|<=|>|<)\s*([0-9.eE+-]+)\s*(.*?))?\s*(?:\bfor\s+([0-9.]+)\s*(ms|s|m|min|h|d))?\s*$/
const DURATION_MS = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const
const PREFIX = { m: 1e-3, k: 1e3, M: 1e6, G: 1e9 } as const

function scaleOf(unit: string, metric: Metric): number | undefined {
  if (unit === '' || unit === metric.unit) return 1
  if (unit === '%' && metric.unit === '1') return 0.01
  const scale = PREFIX[unit[0] as keyof typeof PREFIX]
  return unit.slice(1) === metric.unit ? scale : undefined
}

/**
 * Read a condition.
 *
 * @throws {SyntaxError} If it is none, names no metric, or compares with another unit.
 * @example parseCondition('device.powerW > 12 for 60s')
 * @example parseCondition('device.offline for 5m')
 * @example parseCondition('site.rateBps > 0.95 budget')
 */
export function parseCondition(text: string): Condition {
  const fail = (found: string, wanted: string): never => {
    throw new SyntaxError(`Cannot read condition "${text}": found ${found}, expected ${wanted}`)
  }
  const match = FORM.exec(text) ?? fail('another form', 'e.g. "device.powerW > 12 for 60s" or "device.offline for 5m"')
  const [, name, operator, number, unit, duration, durationUnit] = match
  const metric =
    findMetric(name!) ?? fail(`the metric "${name}"`, `one of ${metrics.map((each) => each.name).join(', ')}`)
  const forMs = duration === undefined ? 0 : Number(duration) * DURATION_MS[durationUnit as keyof typeof DURATION_MS]
  if (!(forMs <= 30 * DURATION_MS.d)) fail(`"for ${duration}${durationUnit}"`, 'at most 30 days')
  if (operator === undefined)
    return metric.unit === undefined
      ? { metric, forMs }
      : fail(`"${name}" alone`, `a comparison with a number of ${metric.unit}, e.g. "${name} > 1"`)
  if (metric.unit === undefined) fail(`a comparison of the flag "${name}"`, `"${name}" alone`)
  const isOfBudget = unit === 'budget'
  if (isOfBudget && !metric.hasBudget)
    fail(`"${unit}"`, `a number of ${metric.unit}: budgets are of site.rateBps and fleet.powerW`)
  const scale = isOfBudget ? 1 : (scaleOf(unit!, metric) ?? fail(`the unit "${unit}"`, metric.unit!))
  const threshold = Number(number) * scale
  if (!Number.isFinite(threshold)) fail(`the number "${number}"`, `a number of ${metric.unit}`)
  return { metric, comparison: { operator: operator as Operator, threshold, isOfBudget }, forMs }
}

/** The text of a condition, checked. */
export const conditionTextSchema = z
  .string()
  .max(300)
  .superRefine((text, context) => {
    try {
      parseCondition(text)
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message })
    }
  })
