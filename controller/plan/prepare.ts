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

/** A slot has hundreds of configurations and tens of sensible ones: a fleet keeps those that no other beats in all that counts. */
export function prune(options: readonly Option[]): Option[] {
  const byRate = options.toSorted(
    (a, b) => a.rateBps - b.rateBps || b.utility - a.utility || b.merit - a.merit || a.powerMw - b.powerMw,
  )
  const kept: Option[] = []
  for (const option of byRate) {
    const { powerMw, utility, merit } = option
    // What was kept asks for no more rate; the last is the likeliest to beat what comes next.
    const isBeaten = (o: Option) => o.powerMw <= powerMw && o.utility >= utility && o.merit >= merit
    if (kept.findLastIndex(isBeaten) < 0) kept.push(option)
  }
  return kept.sort((a, b) => (a.id < b.id ? -1 : 1))
}

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
