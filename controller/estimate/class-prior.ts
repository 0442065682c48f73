import { type Causes, NO_PEERS, type PeerResiduals } from './causes.ts'
import { type Factor, type Residual, UNTRIED } from './factor.ts'
import { type Filter, startFilter } from './filter.ts'

/** What devices of one class say of a new one of it. */
export interface ClassPrior<Estimate extends Causes> {
  /** What a new slot starts from. */
  readonly start: Estimate
  /** How configurations deviate from their cards on this class. */
  readonly residuals: PeerResiduals
  /** Slots that were learned from. */
  readonly members: number
}

/** The prior of the prior counts for so many devices. */
const PSEUDO_DEVICES = 2
/** A slot with fewer readings says nothing of its class. */
const LEAST_READINGS = 10

/**
 * Normal with a normal-inverse-gamma prior, as means: shrunk to what was believed before anything was heard, by the number
 * of members; the spread holds what members differ by and how unsure each is. One odd device moves it little, and a class
 * whose devices differ says so in its variance.
 */
function pool(members: readonly Residual[], before: Residual): Residual {
  const count = PSEUDO_DEVICES + members.length
  const mean = (PSEUDO_DEVICES * before.mean + members.reduce((sum, m) => sum + m.mean, 0)) / count
  const spread = members.reduce((sum, m) => sum + (m.mean - mean) ** 2 + m.variance, 0)
  return { mean, variance: (PSEUDO_DEVICES * (before.variance + (before.mean - mean) ** 2) + spread) / count }
}

const average = (values: readonly number[], before: number): number =>
  (PSEUDO_DEVICES * before + values.reduce((a, b) => a + b, 0)) / (PSEUDO_DEVICES + values.length)

function poolFilters(members: readonly Filter[], before: Filter): Filter {
  const heard = members.filter(({ readings }) => readings >= LEAST_READINGS)
  const noise = average(
    heard.map((f) => f.noise),
    before.noise,
  )
  return startFilter({ ...pool(heard, before), noise })
}

function poolResiduals(members: readonly Factor[]): Record<string, Residual> {
  const byKey = new Map<string, Residual[]>()
  for (const { common, residuals } of members) {
    if (common.readings < LEAST_READINGS) continue
    for (const [key, residual] of Object.entries(residuals)) byKey.set(key, [...(byKey.get(key) ?? []), residual])
  }
  return Object.fromEntries([...byKey].map(([key, found]) => [key, pool(found, UNTRIED)]))
}

/**
 * The prior of a class by empirical Bayes over what its slots have learned. Pure: as estimates are stored, so is it.
 *
 * @param before What a slot starts from where nothing is known of its class.
 */
export function poolClass<Estimate extends Causes>(
  members: readonly Estimate[],
  before: Estimate,
): ClassPrior<Estimate> {
  const factor = (cause: 'bits' | 'latency' | 'energy'): Factor => ({
    common: poolFilters(
      members.map((m) => m[cause].common),
      before[cause].common,
    ),
    residuals: {},
  })
  const residuals = (cause: 'bits' | 'latency' | 'energy') => poolResiduals(members.map((m) => m[cause]))
  return {
    start: {
      ...before,
      bits: factor('bits'),
      latency: factor('latency'),
      energy: factor('energy'),
      quality: poolFilters(
        members.map((m) => m.quality),
        before.quality,
      ),
    },
    residuals: { bits: residuals('bits'), latency: residuals('latency'), energy: residuals('energy') },
    members: members.filter((m) => m.latency.common.readings >= LEAST_READINGS).length,
  }
}

export const noClass = <Estimate extends Causes>(start: Estimate): ClassPrior<Estimate> => ({
  start,
  residuals: NO_PEERS,
  members: 0,
})
