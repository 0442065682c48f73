import { NOTHING_TAKEN, type Taken } from './energy-counter.ts'

type Sums = { -readonly [Key in keyof Taken]: Taken[Key] }

/** Which joules belong to which time: every moment is booked once, as known or as missing. */
export class SettledTime {
  #untilMs: number
  #sum: Sums = { ...NOTHING_TAKEN }
  /** Of the newest reading: it outlives what is taken. */
  #failure: string | undefined

  constructor(startMs: number) {
    this.#untilMs = startMs
  }

  /** What lies before counts no more. */
  begin(nowMs: number): void {
    this.#untilMs = nowMs
    this.#sum = { ...NOTHING_TAKEN }
  }

  /** Joules of a span that is known. What of it was booked before is left out in proportion. */
  know(span: { fromMs: number; untilMs: number; joules: number; varianceJ2?: number; isCovered?: boolean }): void {
    const { fromMs, untilMs, joules, varianceJ2 = 0, isCovered = true } = span
    if (untilMs <= this.#untilMs) return
    this.miss(fromMs)
    const knownMs = untilMs - Math.max(fromMs, this.#untilMs)
    const share = knownMs / (untilMs - fromMs)
    this.#sum.joules += joules * share
    this.#sum.varianceJ2 += varianceJ2 * share
    this.#sum.knownMs += knownMs
    if (isCovered) this.#sum.coveredMs += knownMs
    this.#untilMs = untilMs
  }

  /** Nobody knows what happened until then. */
  miss(untilMs: number): void {
    this.#sum.missingMs += Math.max(0, untilMs - this.#untilMs)
    this.#untilMs = Math.max(this.#untilMs, untilMs)
  }

  /** Square joules found for spans that were booked already. */
  doubt(varianceJ2: number): void {
    this.#sum.varianceJ2 += varianceJ2
  }

  read({ isChange }: { isChange: boolean }): void {
    this.#sum.readings++
    if (isChange) this.#sum.changes++
    this.#failure = undefined
  }

  fail(reason: string): void {
    this.#sum.failures++
    this.#failure = reason
  }

  take(): Taken {
    const taken = { ...this.#sum, failure: this.#failure }
    this.#sum = { ...NOTHING_TAKEN }
    return taken
  }
}
