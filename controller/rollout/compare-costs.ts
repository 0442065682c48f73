import { leastMannWhitneyP, leastWilcoxonP, mannWhitneyP, middleOf, shiftBetween, wilcoxonP } from './rank-tests.ts'
import { COST_NAMES, type Comparison, type CostName, type RolloutSpec } from './rollout.ts'

/** Natural logarithms; a cost that was not measured is absent. */
export type LogCosts = { readonly [K in CostName]?: number | undefined }

/** Chance of stopping a version that is no worse, over the three costs of a wave. */
const FALSE_ALARM = 0.01
/** While a wave soaks it is looked at again and again: only what is beyond doubt stops it then (Haybittle 1971, Peto 1976). */
const INTERIM_FALSE_ALARM = 0.001
/** With too few devices for a test, this many times the tolerance is a regression. */
const THRESHOLD_FACTOR = 2

function compareCost(
  metric: CostName,
  x: readonly number[],
  y: readonly number[],
  { tolerance, limit, isInterim }: { tolerance: number; limit: number; isInterim: boolean },
): Comparison {
  const counted = { metric, newDevices: x.length, oldDevices: y.length, tolerancePct: 100 * tolerance }
  const inPct = (log: number): number => 100 * Math.expm1(log)
  const allowed = Math.log1p(tolerance)
  const beyond = x.map((value) => value - allowed)
  if (x.length === 0) return { ...counted, method: 'none', isRegression: false }
  if (leastMannWhitneyP(x.length, y.length) <= limit) {
    const pValue = mannWhitneyP(beyond, y)
    return {
      ...counted,
      method: 'mann-whitney',
      changePct: inPct(shiftBetween(x, y)),
      pValue,
      isRegression: pValue < limit,
    }
  }
  if (leastWilcoxonP(x.length) <= limit) {
    // Nearly all devices have the new version: each is compared with itself before.
    const pValue = wilcoxonP(beyond)
    return { ...counted, method: 'wilcoxon', changePct: inPct(middleOf(x)), pValue, isRegression: pValue < limit }
  }
  const change = y.length > 0 ? shiftBetween(x, y) : middleOf(x)
  // While it soaks more devices will have been measured soon.
  const isRegression = !isInterim && change > Math.log1p(THRESHOLD_FACTOR * tolerance)
  return { ...counted, method: 'threshold', changePct: inPct(change), isRegression }
}

/**
 * Compare what the version changed on devices that have it with what happened meanwhile on those that do not: each value is
 * the logarithm of a device's cost now over its own cost before, both relative to the cards for what it ran. So neither the
 * devices, nor what they look at, nor the plan's choices are compared; and what changes everywhere, as light does, cancels.
 *
 * @param newer Of devices on the new version. @param older Of those on the old.
 * @param isInterim While the wave soaks.
 */
export function compareCosts(
  newer: readonly LogCosts[],
  older: readonly LogCosts[],
  tolerance: RolloutSpec['tolerance'],
  isInterim: boolean,
): Comparison[] {
  const limit = (isInterim ? INTERIM_FALSE_ALARM : FALSE_ALARM) / COST_NAMES.length
  return COST_NAMES.map((metric) => {
    const of = (costs: readonly LogCosts[]) =>
      costs.flatMap((each) => (each[metric] === undefined ? [] : [each[metric]]))
    return compareCost(metric, of(newer), of(older), { tolerance: tolerance[metric], limit, isInterim })
  })
}
