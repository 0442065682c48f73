import type { Clock } from '@espalier/shared/clock'
import { describeError } from '@espalier/shared/errors'
import type { PowerProbe } from '../sensors/candidate.ts'
import type { EnergyCounter, Taken } from './energy-counter.ts'
import { Pacer } from './pacer.ts'
import { PowerIntegrator } from './power-integrator.ts'
import { SettledTime } from './settled-time.ts'

/** A line is drawn over so many periods at most, and over half a second in any case: longer gaps are missing. */
const MAX_GAP_PERIODS = 2.5
const MIN_MAX_GAP_MS = 500

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
  readonly #clock: Clock
  readonly #pacer: Pacer
  readonly #time: SettledTime
  readonly #integrator: PowerIntegrator
  /** Whether a reading takes place now that is not over when it returns. */
  #isAsync = false

  constructor(probe: PowerProbe, { clock, random, sampleHz, maxCpuShare }: SamplerOptions) {
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
    return this.#pacer.costShare
  }

  begin(nowMs: number): void {
    this.#time.begin(nowMs)
    void this.sample()
  }

  /** Reads once more where that can be done at once, so that what is taken ends now and not at the last reading. */
  take(nowMs: number): Taken {
    if (!this.#isAsync) void this.sample()
    const { lastMs } = this.#integrator
    if (lastMs === undefined || nowMs - lastMs > this.#maxGapMs()) {
      this.#integrator.interrupt()
      this.#time.miss(nowMs)
    }
    return this.#time.take()
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#pacer.run(signal, () => this.sample())
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
    return Math.max(MIN_MAX_GAP_MS, MAX_GAP_PERIODS * this.#pacer.periodMs)
  }

  #book(startMs: number, watts: number): void {
    const atMs = (startMs + this.#clock.monotonicMs()) / 2
    this.#integrator.add({ atMs, watts }, { periodMs: this.#pacer.periodMs, maxGapMs: this.#maxGapMs() })
  }

  #fail(error: unknown): void {
    this.#time.fail(describeError(error))
  }
}
