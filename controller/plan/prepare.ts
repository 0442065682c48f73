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

/** Whether `b` asks for no more and gives no less, with and without the bonus for staying; of equals the first by id. */
function beats(b: Option, a: Option): boolean {
  if (b.rateBps > a.rateBps || b.powerMw > a.powerMw || b.utility < a.utility || b.merit < a.merit) return false
  const isEqual = b.rateBps === a.rateBps && b.powerMw === a.powerMw && b.utility === a.utility && b.merit === a.merit
  return !isEqual || b.id < a.id
}

/** A slot has hundreds of configurations and tens of sensible ones: a fleet keeps only those. */
export function prune(options: readonly Option[]): Option[] {
  // From the best on: what beats an option is met before it, and is kept or beaten itself.
  const sorted = options.toSorted((a, b) => b.utility - a.utility || b.merit - a.merit || a.rateBps - b.rateBps)
  const kept: Option[] = []
  for (const option of sorted) if (!kept.some((other) => beats(other, option))) kept.push(option)
  return kept.filter((a) => !kept.some((b) => b !== a && beats(b, a))).sort((a, b) => (a.id < b.id ? -1 : 1))
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
