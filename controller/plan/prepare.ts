import { allowedOptions, type Forced, listOptions, type Option, type SlotInput } from './option.ts'

/** What of a slot's options can matter to a plan and its reasons. */
export interface Prepared {
  readonly input: SlotInput
  /** In order of id, without those that another beats in all that counts. At least one. */
  readonly allowed: readonly Option[]
  readonly forced: Forced | undefined
  /** Those that only the device's own power forbids. */
  readonly capped: readonly Option[]
  /** Merit of the best option that only the deadline forbids; -Infinity: there is none. */
  readonly lateMerit: number
  /** Even the best quality is below the floor. */
  readonly isBelowFloor: boolean
}

/**
 * A slot has hundreds of configurations and tens of sensible ones: a fleet keeps those that no other beats in all that counts.
 * (Keeping fewer, by letting one also beat what is worth up to a thousandth more, was tried: 105 of 107 stayed.)
 *
 * @param options In order of id. @returns In order of id.
 */
export function prune(options: readonly Option[]): Option[] {
  const count = options.length
  // Columns, not fields of objects: this runs for every slot of a fleet in every plan.
  const rate = new Float64Array(count)
  const order = new Uint16Array(count)
  for (let i = 0; i < count; i++) {
    rate[i] = options[i]!.rateBps
    order[i] = i
  }
  order.sort((a, b) => rate[a]! - rate[b]! || isBetter(options[a]!, options[b]!))
  const power = new Float64Array(count)
  const utility = new Float64Array(count)
  const merit = new Float64Array(count)
  const isKept = new Uint8Array(count)
  let kept = 0
  for (let at = 0; at < count; at++) {
    const option = options[order[at]!]!
    const { powerMw: p, utility: u, merit: m } = option
    // What was kept asks for no more rate; the last is the likeliest to beat what comes next.
    let k = kept - 1
    while (k >= 0 && !(power[k]! <= p && utility[k]! >= u && merit[k]! >= m)) k--
    if (k >= 0) continue
    power[kept] = p
    utility[kept] = u
    merit[kept++] = m
    isKept[order[at]!] = 1
  }
  return options.filter((_, i) => isKept[i] === 1)
}

/** Of two options of one rate. */
const isBetter = (a: Option, b: Option): number => b.utility - a.utility || b.merit - a.merit || a.powerMw - b.powerMw

export function prepareSlot(input: SlotInput): Prepared {
  const options = listOptions(input)
  const { allowed, forced } = allowedOptions(options)
  const late = options.filter((o) => o.meetsFloor && o.meetsCap && !o.meetsDeadline)
  return {
    input,
    allowed: prune(allowed),
    forced,
    capped: prune(options.filter((o) => o.meetsDeadline && o.meetsFloor && !o.meetsCap)),
    lateMerit: late.reduce((most, o) => Math.max(most, o.merit), Number.NEGATIVE_INFINITY),
    isBelowFloor: options.every((o) => !o.meetsFloor),
  }
}
