import type { Clock } from '@espalier/shared/clock'

/** Milliseconds of a core for a timer of Node to fire and find its way back, beside the reading itself. */
const WAKE_MS = 0.05
/** Weight of the newest cost in the running mean: a slow reading alone does not change the pace. */
const NEWEST = 0.1

export interface PacerOptions {
  readonly periodMs: number
  readonly maxCpuShare: number
  /** Waiting costs nothing. */
  readonly isRemote?: boolean | undefined
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: () => number
}

/**
 * Does something again and again at random times, and less often when it costs too much.
 *
 * Times between are drawn from half to one and a half periods. Anything less - a fifth is often advised - stays in step
 * with load that repeats at the sampling rate: readings of a 100 Hz load at 100 Hz then miss by twice the interval that they
 * claim (npm run bench -- agent). With this width, one period after the next is forgotten at every multiple of the rate.
 */
export class Pacer {
  readonly #options: PacerOptions
  /** The first reading, of code that was never run, is no measure of those that follow: it counts like any other. */
  #costMs = WAKE_MS

  constructor(options: PacerOptions) {
    this.#options = options
  }

  /** The mean time between two readings now. */
  get periodMs(): number {
    return Math.max(this.#options.periodMs, this.#costMs / this.#options.maxCpuShare)
  }

  /** Share of one core. Of what another process does, its whole duration counts. */
  get costShare(): number {
    return this.#costMs / this.periodMs
  }

  nextWaitMs(): number {
    return this.periodMs * (0.5 + this.#options.random())
  }

  /** Until aborted; waits for one to end before it begins the next. */
  run(signal: AbortSignal, act: () => undefined | Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      let startMs = 0
      const done = (): void => {
        this.learn(this.#options.clock.monotonicMs() - startMs)
        if (!signal.aborted) timer = setTimeout(once, this.nextWaitMs()).unref()
      }
      const once = (): void => {
        startMs = this.#options.clock.monotonicMs()
        const pending = act()
        // A promise for each of a hundred readings a second would cost more than the readings.
        if (pending === undefined) done()
        else void pending.then(done)
      }
      signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer)
          resolve()
        },
        { once: true },
      )
      if (signal.aborted) return resolve()
      once()
    })
  }

  /** A reading took so long. */
  learn(tookMs: number): void {
    const costMs = (this.#options.isRemote === true ? 0 : tookMs) + WAKE_MS
    this.#costMs = (1 - NEWEST) * this.#costMs + NEWEST * costMs
  }
}
