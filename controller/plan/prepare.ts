import type { OptionColumns } from '../solver/frontier.ts'
import { columnsOf } from './choice-columns.ts'
import { allowedOptions, type Forced, listOptions, type Option, optionAt, type SlotInput } from './option.ts'

/** What of a slot's options its reasons need. */
export interface Listed {
  /** In order of id, without those that another beats in all that counts. At least one. */
  readonly allowed: readonly Option[]
  /** Those that only the device's own power forbids. */
  readonly capped: readonly Option[]
}

/** What is found out of a slot's options once, for as long as nothing that they depend on changes. */
interface Findings {
  /** Of those that are allowed, in order of id. */
  readonly choices: OptionColumns
  /** Their positions among all options. */
  readonly positions: Uint16Array
  readonly mostUtility: number
  readonly forced: Forced | undefined
  readonly lateMerit: number
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

const listCapped = (options: readonly Option[]): Option[] =>
  prune(options.filter((o) => o.meetsDeadline && o.meetsFloor && !o.meetsCap))

function find(input: SlotInput): Findings {
  const options = listOptions(input)
  const { allowed, forced } = allowedOptions(options)
  const kept = prune(allowed)
  const positions = new Uint16Array(kept.length)
  let at = 0
  for (const [k, option] of kept.entries()) {
    while (options[at] !== option) at++
    positions[k] = at
  }
  let [mostUtility, lateMerit] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { utility } of kept) mostUtility = Math.max(mostUtility, utility)
  for (const o of options) if (o.meetsFloor && o.meetsCap && !o.meetsDeadline) lateMerit = Math.max(lateMerit, o.merit)
  return {
    choices: columnsOf(kept),
    positions,
    mostUtility,
    forced,
    lateMerit,
    isBelowFloor: options.every((o) => !o.meetsFloor),
  }
}

/** Ladder, reasons and capsule of a slot are asked for one after the other; of all slots they would fill a gigabyte. */
let lastListed: { readonly slot: Prepared; readonly listed: Listed } | undefined

/**
 * What of a slot's options can matter to a plan. The options themselves are made again where they are asked for: a fleet has
 * millions of them, and a plan looks at one of each slot.
 */
export class Prepared {
  readonly input: SlotInput
  readonly #findings: Findings
  #chosenAt = -1
  #chosen: Option | undefined

  private constructor(input: SlotInput, findings: Findings) {
    this.input = input
    this.#findings = findings
  }

  static of(input: SlotInput): Prepared {
    return new Prepared(input, find(input))
  }

  /** The same slot, of which only what its options do not depend on has changed. */
  with(input: SlotInput): Prepared {
    const same = new Prepared(input, this.#findings)
    same.#chosenAt = this.#chosenAt
    same.#chosen = this.#chosen
    return same
  }

  /** In order of id; the same object as long as they are the same. */
  get choices(): OptionColumns {
    return this.#findings.choices
  }

  /** Of the best that it may run, as `Option.utility`. */
  get mostUtility(): number {
    return this.#findings.mostUtility
  }

  get forced(): Forced | undefined {
    return this.#findings.forced
  }

  /** Merit of the best option that only the deadline forbids; -Infinity: there is none. */
  get lateMerit(): number {
    return this.#findings.lateMerit
  }

  /** Even the best quality is below the floor. */
  get isBelowFloor(): boolean {
    return this.#findings.isBelowFloor
  }

  /** @param choice Position in `choices`. */
  optionAt(choice: number): Option {
    if (this.#chosen === undefined || this.#chosenAt !== choice) {
      this.#chosen = optionAt(this.input, this.#findings.positions[choice]!)
      this.#chosenAt = choice
    }
    return this.#chosen
  }

  list(): Listed {
    if (lastListed?.slot !== this) {
      const options = listOptions(this.input)
      const allowed = Array.from(this.#findings.positions, (at) => options[at]!)
      lastListed = { slot: this, listed: { allowed, capped: listCapped(options) } }
    }
    return lastListed.listed
  }
}

export const prepareSlot = (input: SlotInput): Prepared => Prepared.of(input)
