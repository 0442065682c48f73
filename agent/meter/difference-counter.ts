import type { Clock } from '@espalier/shared/clock'
import { describeError, StoreError } from '@espalier/shared/errors'
import type { EnergyProbe } from '../sensors/candidate.ts'
import type { EnergyCounter, Taken } from './energy-counter.ts'
import { Pacer } from './pacer.ts'
import { SettledTime } from './settled-time.ts'

/**
 * A counter may fall because it wrapped, or because of a reset or suspend. Taken as a wrap, a reset would imply
 * an absurd power; no device of ours draws more than this.
 */
const MAX_PLAUSIBLE_W = 1000
/** An answer that is older than this many periods says nothing of now. */
const STALE_PERIODS = 2.5

interface Reading {
  readonly atMs: number
  readonly joules: readonly number[]
}

export interface DifferenceOptions {
  readonly clock: Clock
  readonly random: () => number
  readonly maxCpuShare: number
}

/** Joules of hardware that counts them: differences, without integration. Zones that do not overlap are added. */
export class DifferenceCounter implements EnergyCounter {
  readonly source: EnergyProbe['source']
  readonly uncertainty: number
  readonly uncertaintyW: number
  readonly #probe: EnergyProbe
  readonly #clock: Clock
  readonly #pacer: Pacer
  readonly #time: SettledTime
  #last: Reading | undefined

  constructor(probe: EnergyProbe, { clock, random, maxCpuShare }: DifferenceOptions) {
    this.source = probe.source
    this.uncertainty = probe.uncertainty
    this.uncertaintyW = probe.uncertaintyW ?? 0
    this.#probe = probe
    this.#clock = clock
    this.#pacer = new Pacer({ periodMs: probe.periodMs, maxCpuShare, isRemote: probe.isRemote, clock, random })
    this.#time = new SettledTime(clock.monotonicMs())
  }

  get costShare(): number {
    return this.#pacer.costShare
  }

  begin(nowMs: number): void {
    this.#time.begin(nowMs)
    if (this.#probe.isLocal) void this.look()
  }

  take(nowMs: number): Taken {
    if (this.#probe.isLocal) void this.look()
    const last = this.#last
    if (last === undefined || nowMs - last.atMs > STALE_PERIODS * this.#pacer.periodMs + 1) {
      this.#last = undefined
      this.#time.miss(nowMs)
    }
    return this.#time.take()
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#pacer.run(signal, () => this.look())
  }

  /** One reading. */
  look(): undefined | Promise<void> {
    const startMs = this.#clock.monotonicMs()
    const book = (joules: readonly number[]): void =>
      this.#book({ atMs: (startMs + this.#clock.monotonicMs()) / 2, joules })
    try {
      const joules = this.#probe.read()
      if (!(joules instanceof Promise)) {
        book(joules)
        return undefined
      }
      return joules.then(book).catch((error: unknown) => this.#fail(error))
    } catch (error) {
      this.#fail(error)
      return undefined
    }
  }

  #fail(error: unknown): void {
    // What is counted meanwhile is booked by the model: joules of that time must not come a second time.
    this.#last = undefined
    this.#time.fail(describeError(error))
  }

  #book(reading: Reading): void {
    const last = this.#last
    const isChange = reading.joules.some((joules, i) => joules !== last?.joules[i])
    if (last !== undefined && reading.atMs <= last.atMs) return
    this.#last = reading
    this.#time.read({ isChange })
    if (last === undefined) {
      this.#time.miss(reading.atMs)
      return
    }
    const joules = reading.joules.reduce((sum, now, zone) => {
      const before = last.joules[zone]!
      return sum + now - before + (now < before ? (this.#probe.rangesJ[zone] ?? Number.NaN) : 0)
    }, 0)
    const seconds = (reading.atMs - last.atMs) / 1000
    if (!(joules <= MAX_PLAUSIBLE_W * Math.max(1e-3, seconds))) {
      this.#time.miss(reading.atMs)
      const reset = new StoreError(`Counter "${this.source.source}" was reset or jumped`, { retryable: true })
      this.#time.fail(reset.message)
      return
    }
    this.#time.know({ fromMs: last.atMs, untilMs: reading.atMs, joules })
  }
}
