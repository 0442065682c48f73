import { marginShare, type RowMargin, type RowReading, startRowMargin, updateRowMargin } from './row-margin.ts'

/** Measurements reach back this far: one look at a limit for each such time, or one excess would count many times. */
const WINDOW_MS = 10_000

/** What was learned about the shared limits of a controller, by their keys (`site:<id>`, `fleet`). */
export class RowMargins {
  readonly #margins = new Map<string, RowMargin>()
  readonly #learnedMs = new Map<string, number>()

  /** The share of a limit that the next plan leaves free. */
  shareOf(key: string): number {
    return marginShare(this.#margins.get(key) ?? startRowMargin)
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
    this.#margins.set(key, updateRowMargin(this.#margins.get(key) ?? startRowMargin, found))
  }
}
