import type { Clock } from '@espalier/shared/clock'
import { describeError } from '@espalier/shared/errors'
import type { PowerProbe } from '../sensors/candidate.ts'
import type { EnergyCounter, Taken } from './energy-counter.ts'
import { Pacer } from './pacer.ts'
import { PowerIntegrator } from './power-integrator.ts'
import type { ReadingThread } from './reading-thread.ts'
import { SettledTime } from './settled-time.ts'

/** A line is drawn over so many periods at most, and over half a second in any case: longer gaps are missing. */
const MAX_GAP_PERIODS = 2.5
const MIN_MAX_GAP_MS = 500
/** Read more often than that, a sensor is worth a thread. */
const MAX_THREAD_PERIOD_MS = 20

export interface SamplerOptions {
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  /** Fastest sampling, readings a second. */
  readonly sampleHz: number
  /** Share of one core that sampling may cost: it slows down rather than cost more. */
  readonly maxCpuShare: number
}

/** Joules of a sensor that says how much power flows now: reads it at random times and integrates. */
export class PowerSampler implements EnergyCounter {
  readonly source: PowerProbe['source']
  readonly uncertainty: number
  readonly uncertaintyW: number
  readonly #probe: PowerProbe
  readonly #options: SamplerOptions
  readonly #clock: Clock
  readonly #pacer: Pacer
  readonly #time: SettledTime
  readonly #integrator: PowerIntegrator
  /** Whether a reading takes place now that is not over when it returns. */
  #isAsync = false
  /** What reads now; undefined: this thread does. */
  #thread: ReadingThread | undefined

  constructor(probe: PowerProbe, options: SamplerOptions) {
    const { clock, random, sampleHz, maxCpuShare } = options
    this.#options = options
    this.source = probe.source
    this.uncertainty = probe.uncertainty
    this.uncertaintyW = probe.uncertaintyW ?? 0
    this.#probe = probe
    this.#clock = clock
    this.#pacer = new Pacer({
      periodMs: Math.max(probe.periodMs, 1000 / sampleHz),
      maxCpuShare,
      isRemote: probe.isRemote,
      clock,
      random,
    })
    this.#time = new SettledTime(clock.monotonicMs())
    this.#integrator = new PowerIntegrator(this.#time)
  }

  get costShare(): number {
    return (this.#thread ?? this.#pacer).costShare
  }

  begin(nowMs: number): void {
    this.#time.begin(nowMs)
    void this.sample()
  }

  /** Reads once more where that can be done at once, so that what is taken ends now and not at the last reading. */
  take(nowMs: number): Taken {
    if (this.#thread !== undefined) this.#drain(this.#thread)
    else if (!this.#isAsync) void this.sample()
    const { lastMs } = this.#integrator
    if (lastMs === undefined || nowMs - lastMs > this.#maxGapMs()) {
      this.#integrator.interrupt()
      this.#time.miss(nowMs)
    }
    return this.#time.take()
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#pacer.periodMs <= MAX_THREAD_PERIOD_MS && this.#probe.readApart !== undefined) {
      const { periodMs } = this.#pacer
      const { maxCpuShare } = this.#options
      this.#thread = this.#probe.readApart({ periodMs, maxCpuShare, clock: this.#clock })
      await this.#thread.run(signal)
      this.#drain(this.#thread)
      this.#thread = undefined
    }
    // Without a thread, or after it failed: reading is what matters.
    if (!signal.aborted) await this.#pacer.run(signal, () => this.sample())
  }

  #drain(thread: ReadingThread): void {
    thread.drain((atMs, watts) => {
      if (Number.isNaN(watts)) this.#time.fail(thread.failure)
      else this.#add(atMs, watts)
    })
  }

  /** One reading. Its time is the middle between asking and answer. */
  sample(): undefined | Promise<void> {
    const startMs = this.#clock.monotonicMs()
    try {
      const watts = this.#probe.read()
      if (typeof watts === 'number') {
        this.#book(startMs, watts)
        return undefined
      }
      this.#isAsync = true
      return watts.then(
        (value) => this.#book(startMs, value),
        (error: unknown) => this.#fail(error),
      )
    } catch (error) {
      this.#fail(error)
      return undefined
    }
  }

  #maxGapMs(): number {
    return Math.max(MIN_MAX_GAP_MS, MAX_GAP_PERIODS * (this.#thread ?? this.#pacer).periodMs)
  }

  #book(startMs: number, watts: number): void {
    this.#add((startMs + this.#clock.monotonicMs()) / 2, watts)
  }

  #add(atMs: number, watts: number): void {
    const { periodMs } = this.#thread ?? this.#pacer
    this.#integrator.add({ atMs, watts }, { periodMs, maxGapMs: this.#maxGapMs() })
  }

  #fail(error: unknown): void {
    this.#time.fail(describeError(error))
  }
}
