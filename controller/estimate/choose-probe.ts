/** What an option is believed to take. */
export interface Believed {
  readonly id: string
  readonly rateBps: number
  readonly rateSigmaBps: number
  readonly powerMw: number
  readonly powerSigmaMw: number
  /** Utility without bonuses. */
  readonly merit: number
}

export interface ProbeCandidate extends Believed {
  /** Of how it deviates from its card, logarithm: what running it would tell. */
  readonly untriedVariance: number
  /** Variance of one reading. */
  readonly noise: number
}

export interface ProbeLimits {
  /** The slot's lease: all leases together keep the budgets. Absent: no limit. */
  readonly rateBps?: number | undefined
  readonly powerW?: number | undefined
  /** Standard deviations that must fit below it. */
  readonly sigmas: number
  /** Utility that may be lost, a second. */
  readonly mostLoss: number
}

export interface Probe {
  readonly id: string
  /** Utility that is lost while it runs, a second. */
  readonly loss: number
  /** As the candidate had it. */
  readonly untriedVariance: number
  /** What it tells, nats. */
  readonly information: number
}

/** Where what would be learned is known to this, a probe tells nothing: about 3 %. */
const KNOWN_VARIANCE = 0.03 ** 2
/** Keeps options that lose nothing comparable with each other. */
const LOSS_FLOOR = 1e-4

/**
 * The option whose cost is worth knowing most for what trying it loses, among those that fit below the lease with their whole
 * uncertainty. Ties go to the id that comes first.
 *
 * @param candidates That keep deadline and floor at the bound of the slot, the chosen one not among them.
 */
export function chooseProbe(
  chosen: Believed,
  candidates: readonly ProbeCandidate[],
  limits: ProbeLimits,
): Probe | undefined {
  const { sigmas, mostLoss } = limits
  const rateBps = limits.rateBps ?? Number.POSITIVE_INFINITY
  const powerMw = (limits.powerW ?? Number.POSITIVE_INFINITY) * 1000
  let best: Probe | undefined
  for (const each of candidates) {
    const fits =
      each.rateBps + sigmas * each.rateSigmaBps <= rateBps && each.powerMw + sigmas * each.powerSigmaMw <= powerMw
    const loss = Math.max(0, chosen.merit - each.merit)
    if (!fits || !(loss <= mostLoss) || !(each.untriedVariance > KNOWN_VARIANCE)) continue
    const information = 0.5 * Math.log(1 + each.untriedVariance / each.noise)
    const probe = { id: each.id, loss, information, untriedVariance: each.untriedVariance }
    const worth = (p: Probe) => p.information / (LOSS_FLOOR + p.loss)
    if (best === undefined || worth(probe) > worth(best) || (worth(probe) === worth(best) && probe.id < best.id))
      best = probe
  }
  return best
}
