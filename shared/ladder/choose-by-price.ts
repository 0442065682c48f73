import { compareIds } from './compare-ids.ts'

/** What a choice costs and is worth, in whole numbers so that every machine chooses the same. */
export interface Priced {
  readonly id: string
  readonly rateBps: number
  readonly powerMw: number
  /** Micro-utility. */
  readonly utility: number
}

/** Micro-utility per bit/s and per mW. */
export interface ChoicePrices {
  readonly lambda: number
  readonly mu: number
}

/** What may be used; absent: no limit. */
export interface ChoiceLimits {
  readonly rateBps?: number | undefined
  readonly powerMw?: number | undefined
}

/** Numbers that differ in their last bits, as products of prices do, are no reason to prefer one choice. */
const EPSILON = 1e-3

/**
 * The price response: the choice within the limits whose utility most exceeds what it costs. Ties go to the lower rate,
 * then the lower power, then the id. Where nothing is within the limits, the choice of the least rate.
 *
 * The rule that the controller explains its plan by; what a device does alone is `chooseRung`.
 *
 * @param choices At least one.
 */
export function chooseByPrice<Choice extends Priced>(
  choices: readonly Choice[],
  prices: ChoicePrices,
  limits: ChoiceLimits = {},
): Choice {
  const worth = (c: Priced): number => c.utility - prices.lambda * c.rateBps - prices.mu * c.powerMw
  const cheaper = (a: Priced, b: Priced): number =>
    a.rateBps - b.rateBps || a.powerMw - b.powerMw || compareIds(a.id, b.id)
  const fits = (c: Priced): boolean =>
    c.rateBps <= (limits.rateBps ?? Number.POSITIVE_INFINITY) &&
    c.powerMw <= (limits.powerMw ?? Number.POSITIVE_INFINITY)
  const sorted = [...choices].sort(cheaper)
  const within = sorted.filter(fits)
  if (within.length === 0) return sorted[0]!
  return within.reduce((best, c) => (worth(c) > worth(best) + EPSILON ? c : best))
}
