import type { SettledTime } from './settled-time.ts'

interface Sample {
  readonly atMs: number
  readonly watts: number
}

/** A gap longer than this many sampling periods counts as not covered, though it is interpolated. */
const COVERED_PERIODS = 2.5
/** Variance of e for independent readings with equal spacing: 1 + 1/4 + 1/4. */
const RESIDUAL_VARIANCE = 1.5

/**
 * The trapezoid rule over power samples that come at random times, and how far off it may be.
 *
 * How far is learned from the readings themselves: e, the difference of a reading from the line between its
 * neighbours, times w, the time that it stands for, is what leaving it out would change. For readings that are
 * independent - noise, or load that alternates faster than it is sampled - the sum of (e w)^2 / 1.5 estimates the variance
 * of the integral; where load is resolved it is too large, never too small. A step d between samples that are
 * dt apart happened anywhere between them: d^2 dt^2 / 12 more, which matters where readings are missing.
 */
export class PowerIntegrator {
  readonly #time: SettledTime
  #before: Sample | undefined
  #last: Sample | undefined

  constructor(time: SettledTime) {
    this.#time = time
  }

  get lastMs(): number | undefined {
    return this.#last?.atMs
  }

  /**
   * @param periodMs The mean time between samples now.
   * @param maxGapMs No line is drawn over more than this: the time counts as missing.
   */
  add(sample: Sample, { periodMs, maxGapMs }: { periodMs: number; maxGapMs: number }): void {
    const [before, last] = [this.#before, this.#last]
    if (last !== undefined && sample.atMs <= last.atMs) return
    this.#time.read({ isChange: sample.watts !== last?.watts })
    const elapsedMs = last === undefined ? Number.POSITIVE_INFINITY : sample.atMs - last.atMs
    if (last === undefined || elapsedMs > maxGapMs) {
      this.#time.miss(sample.atMs)
      this.#before = undefined
      this.#last = sample
      return
    }
    const seconds = elapsedMs / 1000
    const isCovered = elapsedMs <= COVERED_PERIODS * periodMs
    this.#time.know({
      fromMs: last.atMs,
      untilMs: sample.atMs,
      joules: ((last.watts + sample.watts) / 2) * seconds,
      varianceJ2: isCovered ? 0 : ((sample.watts - last.watts) * seconds) ** 2 / 12,
      isCovered,
    })
    if (before !== undefined) {
      const spanMs = sample.atMs - before.atMs
      const onLine = (before.watts * elapsedMs + sample.watts * (last.atMs - before.atMs)) / spanMs
      this.#time.doubt((((last.watts - onLine) * spanMs) / 2000) ** 2 / RESIDUAL_VARIANCE)
    }
    this.#before = last
    this.#last = sample
  }

  /** The line ends here: what follows is not joined to what was. */
  interrupt(): void {
    this.#before = undefined
    this.#last = undefined
  }
}
