/** Columns that a slot's useful options are written to. */
export interface Frontier {
  readonly rate: Float64Array
  readonly power: Float64Array
  readonly utility: Float64Array
  /** Position among the slot's options. */
  readonly option: Int32Array
}

export interface OptionColumns {
  readonly rateBps: Float64Array
  readonly powerMw: Float64Array
  readonly utility: Float64Array
}

/**
 * Keep the options of one slot that no other beats in rate, power and utility at once, in order of rate, then falling
 * utility. Carbon needs no fourth dimension: within a slot it is proportional to power.
 *
 * @param from, to The slot's options in `options`.
 * @param at Where in `frontier` to write; there must be room for all of them.
 * @returns How many were kept: at least one.
 */
export function writeFrontier(
  options: OptionColumns,
  from: number,
  to: number,
  frontier: Frontier,
  at: number,
): number {
  const { rateBps, powerMw, utility } = options
  const { rate, power, utility: worth, option } = frontier
  // Sorted by insertion: a slot has tens of options, and they are often in order of rate already.
  for (let i = from; i < to; i++) {
    const [r, u, p] = [rateBps[i]!, utility[i]!, powerMw[i]!]
    let k = at + i - from
    for (; k > at; k--) {
      const j = from + option[k - 1]!
      const less = rateBps[j]! - r || u - utility[j]! || powerMw[j]! - p
      if (less <= 0) break
      option[k] = option[k - 1]!
    }
    option[k] = i - from
  }
  let end = at
  for (let i = at; i < at + to - from; i++) {
    const j = from + option[i]!
    const [u, p] = [utility[j]!, powerMw[j]!]
    let isBeaten = false
    for (let k = end - 1; k >= at && !isBeaten; k--) isBeaten = power[k]! <= p && worth[k]! >= u
    if (isBeaten) continue
    rate[end] = rateBps[j]!
    worth[end] = u
    power[end] = p
    option[end++] = option[i]!
  }
  return end - at
}
