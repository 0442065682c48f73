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
  const count = to - from
  // Sorted by insertion: a slot has tens of options. Rates move along, so that most comparisons read one column.
  for (let i = 0; i < count; i++) {
    const r = rateBps[from + i]!
    let k = at + i
    for (; k > at; k--) {
      const before = rate[k - 1]!
      if (before < r) break
      if (before === r && !isBefore(options, from + i, from + option[k - 1]!)) break
      rate[k] = before
      option[k] = option[k - 1]!
    }
    rate[k] = r
    option[k] = i
  }
  let end = at
  for (let i = at; i < at + count; i++) {
    const j = from + option[i]!
    const u = utility[j]!
    const p = powerMw[j]!
    let k = end - 1
    while (k >= at && !(power[k]! <= p && worth[k]! >= u)) k--
    if (k >= at) continue
    rate[end] = rate[i]!
    worth[end] = u
    power[end] = p
    option[end++] = option[i]!
  }
  return end - at
}

/** Of two options of the same rate. */
function isBefore({ utility, powerMw }: OptionColumns, a: number, b: number): boolean {
  return utility[a]! > utility[b]! || (utility[a] === utility[b] && powerMw[a]! < powerMw[b]!)
}
