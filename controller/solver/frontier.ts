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
    const r = rateBps[i]!
    const u = utility[i]!
    const p = powerMw[i]!
    let k = at + i - from
    for (; k > at; k--) {
      const isAfter =
        rate[k - 1]! < r || (rate[k - 1]! === r && (worth[k - 1]! > u || (worth[k - 1]! === u && power[k - 1]! <= p)))
      if (isAfter) break
      rate[k] = rate[k - 1]!
      worth[k] = worth[k - 1]!
      power[k] = power[k - 1]!
      option[k] = option[k - 1]!
    }
    rate[k] = r
    worth[k] = u
    power[k] = p
    option[k] = i - from
  }
  let end = at
  for (let i = at; i < at + to - from; i++) {
    let isBeaten = false
    for (let k = end - 1; k >= at && !isBeaten; k--) isBeaten = power[k]! <= power[i]! && worth[k]! >= worth[i]!
    if (isBeaten) continue
    rate[end] = rate[i]!
    worth[end] = worth[i]!
    power[end] = power[i]!
    option[end] = option[i]!
    end++
  }
  return end - at
}
