import { marginShare, type RowMargin, type RowReading, startRowMargin, updateRowMargin } from './row-margin.ts'

/** Measurements reach back this far: one look at a limit for each such time, or one excess would count many times. */
const WINDOW_MS = 10_000

const kindOf = (key: string): string => key.split(':')[0]!

/** What was learned about the shared limits of a controller, by their keys (`site:<id>`, `gateway:<id>`, `power`, `carbon`). */
export class RowMargins {
  readonly #margins: Map<string, RowMargin>
  readonly #learnedMs = new Map<string, number>()
  /** Mean of `common` over all limits of a kind; none after one of them changed. */
  #looks = 0
  readonly #commonOf = new Map<string, number>()

  constructor(learned: ReadonlyMap<string, RowMargin> = new Map()) {
    this.#margins = new Map(learned)
  }

  /** How often anything was learned. */
  get looks(): number {
    return this.#looks
  }

  get learned(): ReadonlyMap<string, RowMargin> {
    return this.#margins
  }

  /**
   * The share of a limit that the next plan leaves free. What its members share is the mean of its own and of all limits of its
   * kind: a variance by a hundred looks is itself off by a fifth, and the limits with the least are the ones that break.
   */
  shareOf(key: string): number {
    const own = this.#margins.get(key) ?? startRowMargin
    const common = this.#meanCommon(kindOf(key))
    return marginShare(common === undefined ? own : { ...own, common: (own.common + common) / 2 })
  }

  #meanCommon(kind: string): number | undefined {
    const known = this.#commonOf.get(kind)
    if (known !== undefined) return known
    let [sum, count] = [0, 0]
    for (const [key, { common }] of this.#margins) {
      if (kindOf(key) !== kind) continue
      sum += common
      count++
    }
    if (count === 0) return undefined
    this.#commonOf.set(kind, sum / count)
    return sum / count
  }

  /**
   * Learn from what was measured under a plan.
   *
   * @param found Where part of a limit is fixed, as idle power is, relative to the rest.
   * @param nowMs Of any clock that only goes forward; looks within ten seconds of the last are ignored unless they violate.
   */
  learn(key: string, found: RowReading, nowMs: number): void {
    if (!found.isViolated && nowMs - (this.#learnedMs.get(key) ?? Number.NEGATIVE_INFINITY) < WINDOW_MS) return
    this.#learnedMs.set(key, nowMs)
    this.#commonOf.delete(kindOf(key))
    this.#looks++
    this.#margins.set(key, updateRowMargin(this.#margins.get(key) ?? startRowMargin, found))
  }
}
