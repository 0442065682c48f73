/**
 * A fleet as the solver reads it: columns of integers, so that equal inputs plan equally on every machine and a
 * hundred thousand slots fit in a cache line after another. Where two options are worth the same the earlier one
 * wins; whoever fills the columns puts them in order of id.
 */
export interface FleetColumns {
  /** Site of each slot, 0 to sites - 1. */
  readonly siteOf: Int32Array
  /** Options of slot i are those from `start[i]` to `start[i + 1]`: at least one. */
  readonly start: Int32Array
  /** bit/s, of each option. */
  readonly rateBps: Float64Array
  /** mW, of each option. */
  readonly powerMw: Float64Array
  /** Micro-utility, of each option: weight and bonuses for staying included. */
  readonly utility: Float64Array
  /** g/kWh of each slot's grid, whole; absent: 0. */
  readonly carbonGPerKwh?: Float64Array | undefined
  readonly limits: FleetLimits
}

/** `Infinity` is no limit. What is reserved for others is already taken off. */
export interface FleetLimits {
  /** bit/s of each site. */
  readonly siteRateBps: Float64Array
  /** Gateway of each site, or -1. */
  readonly gatewayOf: Int32Array
  /** bit/s of each gateway: the sum over its sites. */
  readonly gatewayRateBps: Float64Array
  readonly powerMw: number
  /** micro-g/h: mW times g/kWh. */
  readonly carbonUgPerH: number
}

export interface FleetWidePrices {
  /** Micro-utility per mW of the fleet. */
  readonly mu: number
  /** Micro-utility per micro-g/h of the fleet. */
  readonly nu: number
}

/** Prices of everything that is shared; all >= 0. */
export interface Prices extends FleetWidePrices {
  /** Micro-utility per bit/s of each site's own limit. */
  readonly lambda: Float64Array
  /** Micro-utility per bit/s of each gateway, paid on top of the site's. */
  readonly gamma: Float64Array
}
