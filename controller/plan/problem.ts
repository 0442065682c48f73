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
}

/** What a row may carry on average. Absent: no limit. */
export interface Problem {
  readonly slots: readonly SlotProblem[]
  readonly siteRateBps: ReadonlyMap<string, number>
  readonly fleetPowerMw: number | undefined
}

export interface Solution {
  /** Position in `choices` for each slot. */
  readonly chosen: readonly number[]
  /** Micro-utility of the choice. */
  readonly value: number
  /** No plan has more: the optimum of the linear relaxation. */
  readonly bound: number
  /** Micro-utility per bit/s; no entry for sites without a limit. */
  readonly lambda: ReadonlyMap<string, number>
  /** Micro-utility per milliwatt. */
  readonly mu: number
  /** Sites whose cheapest rates exceed the limit: they get those, and do not count in `mu`. */
  readonly infeasibleSites: readonly string[]
  readonly isPowerInfeasible: boolean
}
