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
 * Keeps the options of one slot that no other beats in rate, power and utility at once, in order of rate, then falling
 * utility. Carbon needs no fourth dimension: within a slot it is proportional to power.
 */
export class FrontierWriter {
  /** For each number of options, the order that the last slot with as many had: most slots choose from like options. */
  readonly #orders: Int32Array[] = []
  #sortedRate = new Float64Array(0)
  /** Of the options kept so far those that no other beats in power and utility, both rising. */
  #stairPower = new Float64Array(0)
  #stairUtility = new Float64Array(0)

  /**
   * @param from, to The slot's options in `options`.
   * @param at Where in `frontier` to write; there must be room for all of them.
   * @returns How many were kept: at least one.
   */
  write(options: OptionColumns, from: number, to: number, frontier: Frontier, at: number): number {
    const order = this.#sort(options, from, to - from)
    const { rateBps, powerMw, utility } = options
    const stairPower = this.#stairPower
    const stairUtility = this.#stairUtility
    let stairs = 0
    let end = at
    for (let i = 0; i < order.length; i++) {
      const option = order[i]!
      const p = powerMw[from + option]!
      const u = utility[from + option]!
      let below = stairs
      while (below > 0 && stairPower[below - 1]! > p) below--
      if (below > 0 && stairUtility[below - 1]! >= u) continue
      let above = below
      while (above < stairs && stairUtility[above]! <= u) above++
      if (above === below)
        for (let k = stairs; k > below; k--) {
          stairPower[k] = stairPower[k - 1]!
          stairUtility[k] = stairUtility[k - 1]!
        }
      else
        for (let k = above; k < stairs; k++) {
          stairPower[below + 1 + k - above] = stairPower[k]!
          stairUtility[below + 1 + k - above] = stairUtility[k]!
        }
      stairs += below + 1 - above
      stairPower[below] = p
      stairUtility[below] = u
      frontier.rate[end] = rateBps[from + option]!
      frontier.power[end] = p
      frontier.utility[end] = u
      frontier.option[end++] = option
    }
    return end - at
  }

  /** Sorted by insertion: a slot has tens of options, and begins with the order of another. */
  #sort(options: OptionColumns, from: number, count: number): Int32Array {
    if (count > this.#sortedRate.length) {
      this.#sortedRate = new Float64Array(2 * count)
      this.#stairPower = new Float64Array(2 * count)
      this.#stairUtility = new Float64Array(2 * count)
    }
    const sortedRate = this.#sortedRate
    const order = this.#orders[count] ?? Int32Array.from({ length: count }, (_, i) => i)
    this.#orders[count] = order
    const { rateBps } = options
    for (let i = 0; i < count; i++) {
      const option = order[i]!
      const r = rateBps[from + option]!
      let k = i
      for (; k > 0; k--) {
        const before = sortedRate[k - 1]!
        if (before < r) break
        if (before === r && !isBefore(options, from + option, from + order[k - 1]!)) break
        sortedRate[k] = before
        order[k] = order[k - 1]!
      }
      sortedRate[k] = r
      order[k] = option
    }
    return order
  }
}

/** The option of a slot that `FrontierWriter` would write first. */
export function findLeast(options: OptionColumns, from: number, to: number): number {
  const { rateBps } = options
  let [least, rate] = [from, rateBps[from]!]
  for (let option = from + 1; option < to; option++) {
    const r = rateBps[option]!
    if (r > rate || (r === rate && !isBefore(options, option, least))) continue
    least = option
    rate = r
  }
  return least
}

/** Of two options of the same rate. What is left of ties the position decides, so that no order to begin with does. */
function isBefore({ utility, powerMw }: OptionColumns, a: number, b: number): boolean {
  if (utility[a] !== utility[b]) return utility[a]! > utility[b]!
  return powerMw[a] === powerMw[b] ? a < b : powerMw[a]! < powerMw[b]!
}
