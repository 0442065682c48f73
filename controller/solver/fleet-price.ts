import type { FleetWidePrices } from './columns.ts'
import { findPrice, type PriceScales, type PriceSearch, type Tangent } from './find-price.ts'
import type { Relaxer, Sweep } from './relax.ts'
import type { Tables } from './tables.ts'

/** The dual function at one pair of fleet prices. */
interface DualPoint extends Tangent {
  readonly sweep: Sweep
  /** The other side of the inner price's minimum. */
  readonly over: Sweep | undefined
}

export interface FleetPrices {
  /** At the prices that were found, on the side that keeps the limits if any price does. */
  readonly within: Sweep
  /** At almost the same prices, on the other side; absent where no fleet limit binds. */
  readonly over: Sweep | undefined
  /** Optimum of the linear relaxation, micro-utility: an upper bound of any plan. */
  readonly bound: number
  readonly isFeasible: boolean
  /** At this price power outweighs any utility. */
  readonly largest: () => number
}

const TOLERANCE = 1e-8
const CARBON_TOLERANCE = 3e-7

/** A limit that is not there has the price 0, and 0 * Infinity is not 0. */
const cost = (price: number, limit: number): number => (price === 0 ? 0 : price * limit)

/** Prices at which power (or carbon) outweighs any utility, and at which they weigh about the same. */
function measureScales(tables: Tables): PriceScales {
  const { utility, power, pointStart, pointCount } = tables
  let [least, most, worth, watts] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0]
  for (let k = 0; k < pointCount.length; k++) {
    const end = pointStart[k]! + pointCount[k]!
    for (let point = pointStart[k]!; point < end; point++) {
      const u = utility[point]!
      if (u < least) least = u
      if (u > most) most = u
      worth += Math.abs(u)
      watts += power[point]!
    }
  }
  const largest = 64 * (most - least + 1)
  return { largest, scale: Math.min(largest, worth > 0 && watts > 0 ? (0.5 * worth) / watts : largest) }
}

/**
 * Find the prices of the fleet's limits that minimise the dual function. With both limits the carbon price is searched
 * outside and the power price inside; the slope of the outer function is that of the mixture of the inner minimum's two
 * sides which uses just the power there is (Danskin).
 *
 * @param warm Prices of a similar fleet.
 */
export function findFleetPrices(tables: Tables, relaxer: Relaxer, warm?: FleetWidePrices): FleetPrices {
  const { powerMw, carbonUgPerH } = tables.limits
  let measured: PriceScales | undefined
  const scales = (): PriceScales => {
    measured ??= measureScales(tables)
    return measured
  }
  const largest = (): number => scales().largest
  let muStart = warm?.mu
  const inner = (nu: number) => {
    const evaluate = (mu: number, between?: readonly [DualPoint, DualPoint]): DualPoint => {
      const sweep = relaxer.sweep(mu, nu, between && [between[0].sweep, between[1].sweep])
      const value = sweep.value + cost(mu, powerMw) + cost(nu, carbonUgPerH)
      return { price: mu, value, slope: powerMw - sweep.powerMw, sweep, over: undefined }
    }
    if (powerMw === Number.POSITIVE_INFINITY) {
      const only = evaluate(0)
      return { within: only, over: undefined, least: only.value }
    }
    const found = findPrice(evaluate, { start: muStart, scales, tolerance: TOLERANCE })
    muStart = (found.within ?? found.over)!.price
    return found
  }

  if (carbonUgPerH === Number.POSITIVE_INFINITY) {
    const { within, over, least } = inner(0)
    return {
      within: (within ?? over)!.sweep,
      over: over?.sweep,
      bound: least,
      isFeasible: within !== undefined,
      largest,
    }
  }
  const evaluate = (nu: number): DualPoint => {
    const { within, over, least } = inner(nu)
    const kept = (within ?? over)!
    const used =
      within === undefined || over === undefined
        ? kept.sweep.carbonUgPerH
        : mixture(within.slope / (within.slope - over.slope), over.sweep.carbonUgPerH, within.sweep.carbonUgPerH)
    return { price: nu, value: least, slope: carbonUgPerH - used, sweep: kept.sweep, over: over?.sweep }
  }
  const grams = Math.max(1, tables.carbon.reduce((sum, c) => sum + c, 0) / tables.carbon.length)
  const search: PriceSearch = {
    start: warm?.nu,
    scales: () => ({ scale: scales().scale / grams, largest: largest() }),
    tolerance: CARBON_TOLERANCE,
  }
  const { within, over, least } = findPrice(evaluate, search)
  const kept = (within ?? over)!
  const isPowerKept = powerMw >= kept.sweep.powerMw
  return {
    within: kept.sweep,
    over: kept.over ?? over?.sweep,
    bound: least,
    isFeasible: within !== undefined && isPowerKept,
    largest,
  }
}

const mixture = (share: number, a: number, b: number): number => share * a + (1 - share) * b
