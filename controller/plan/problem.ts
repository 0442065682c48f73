/** One configuration of a slot as the solver sees it. All figures are integers, so that equal inputs plan equally. */
export interface Choice {
  readonly id: string
  readonly rateBps: number
  readonly powerMw: number
  /** Micro-utility, bonuses for staying included. */
  readonly utility: number
  readonly rateSigmaBps: number
  readonly powerSigmaMw: number
}

export interface SlotProblem {
  /** `device/slot`. */
  readonly key: string
  readonly site: string
  /** At least one; ids differ. */
  readonly choices: readonly Choice[]
  /** Of the grid that feeds it, whole g/kWh; absent: 0. */
  readonly carbonGPerKwh?: number | undefined
}

/** Sites behind one uplink: together they carry at most this. */
export interface Gateway {
  readonly rateBps: number
  readonly sites: readonly string[]
}

/** What a row may carry on average. Absent: no limit. */
export interface Problem {
  readonly slots: readonly SlotProblem[]
  readonly siteRateBps: ReadonlyMap<string, number>
  readonly gateways?: ReadonlyMap<string, Gateway> | undefined
  readonly fleetPowerMw: number | undefined
  /** micro-g/h: mW times g/kWh. */
  readonly fleetCarbonUgPerH?: number | undefined
}

export interface Solution {
  /** Position in `choices` for each slot. */
  readonly chosen: readonly number[]
  /** Micro-utility of the choice. */
  readonly value: number
  /** No plan has more: the optimum of the linear relaxation. */
  readonly bound: number
  /** Nor than this, the Lagrangian bound over whole choices: at most `bound`. */
  readonly integerBound: number
  /** Micro-utility per bit/s; no entry for sites without a limit. */
  readonly lambda: ReadonlyMap<string, number>
  /** The same of gateways, on top of the sites'. */
  readonly gamma: ReadonlyMap<string, number>
  /** Micro-utility per milliwatt. */
  readonly mu: number
  /** Micro-utility per micro-g/h. */
  readonly nu: number
  /** Sites whose cheapest rates exceed the limit: they get those, and do not count in `mu`. */
  readonly infeasibleSites: readonly string[]
  readonly infeasibleGateways: readonly string[]
  /** The fleet's power (or carbon) is exceeded even so. */
  readonly isPowerInfeasible: boolean
}
