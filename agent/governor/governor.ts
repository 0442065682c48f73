import { type Configuration, isSameGraph } from '@espalier/shared/configuration'
import type { Rung } from '@espalier/shared/messages/controller'
import {
  type BrakeState,
  brake,
  configurationAt,
  contentFactor,
  type FrameOutcome,
  initialState,
  type PowerReading,
  powerFactor,
  type SentFrame,
  type Situation,
  WINDOW_MS,
} from './brake.ts'

/** What a task's results are expected to take, and whether alpha has a say in it. */
export interface RateModel {
  /** Of the result of a frame by the family's card, > 0. */
  readonly expectedBits: (configuration: Configuration) => number
  /** For a ladder: bits per second that are sent, > 0, of any configuration. Made once for each plan, asked before every frame. */
  readonly expectedBpsOn: (ladder: readonly Rung[]) => (configuration: Configuration) => number
  /** What a frame's result takes of the lease: of a classifier not each one is sent. */
  readonly sentBits: (bits: number, configuration: Configuration) => number
  readonly maxAlpha255: number
}

export interface Plan {
  readonly ladder: readonly Rung[]
  /**
   * All rungs of which it is known what they should take; absent: those of the ladder. What was sent before a change is
   * then measured by the same figures after it.
   */
  readonly figures?: readonly Rung[] | undefined
  /** Bits per second; undefined: no limit. */
  readonly leaseBps: number | undefined
  /** Watts; absent: no limit. */
  readonly leasePowerW?: number | undefined
}

/** How measured differs from expected over the last seconds, as factors > 0; 1 where nothing was measured. */
export interface Factors {
  readonly rate: number
  readonly power: number
  readonly latency: number
}

/** Of one frame. */
export interface Expectation {
  readonly bits: number
  readonly latencyMs: number | undefined
  readonly joules: number | undefined
}

/** Remembers what one slot sent lately, and asks the brake before each frame. */
export class Governor {
  #rateModel: RateModel
  #plan: Plan
  #state: BrakeState
  #sent: SentFrame[] = []
  #outcomes: FrameOutcome[] = []
  #power: PowerReading[] = []
  /** Watt-milliseconds that rungs were expected to take, from one moment to another; the present rung runs since the latter. */
  #expected: { wattMs: number; readonly fromMs: number; sinceMs: number }
  #expectedBps: Situation['expectedBps']

  constructor(plan: Plan, nowMs: number, rateModel: RateModel) {
    this.#plan = plan
    this.#rateModel = rateModel
    this.#state = initialState(plan.ladder, nowMs)
    this.#expected = { wattMs: 0, fromMs: nowMs, sinceMs: nowMs }
    this.#expectedBps = rateModel.expectedBpsOn(this.#figures)
  }

  /** What the last decision runs. */
  get configuration(): Configuration {
    return configurationAt(this.#plan.ladder, this.#state)
  }

  /** Whether that is less than planned. */
  get isBraking(): boolean {
    return this.#state.rung > 0 || this.#state.alpha255 !== this.#plan.ladder[0]!.configuration.alpha255
  }

  /**
   * Follow another plan from the next frame on. What was sent under the last one still counts against the lease.
   *
   * @param rateModel Of another version of the family; absent: as before.
   */
  follow(plan: Plan, nowMs: number, rateModel: RateModel = this.#rateModel): void {
    this.#expectUntil(nowMs)
    this.#rateModel = rateModel
    this.#plan = plan
    this.#expectedBps = rateModel.expectedBpsOn(this.#figures)
    this.#outcomes = []
    this.#state = brake(initialState(plan.ladder, nowMs), this.#situation(nowMs), { isNewPlan: true })
  }

  /** The configuration of the frame that is about to be worked on. */
  decide(nowMs: number): Configuration {
    const state = brake(this.#state, this.#situation(nowMs))
    if (state.rung !== this.#state.rung) this.#expectUntil(nowMs)
    this.#state = state
    return this.configuration
  }

  /** @param frame Its bits are those of its result. */
  recordSent(frame: SentFrame): void {
    this.#sent.push({ ...frame, bits: this.#rateModel.sentBits(frame.bits, frame.configuration) })
  }

  recordOutcome(outcome: FrameOutcome): void {
    this.#outcomes.push(outcome)
  }

  /** @param durationMs Up to `atMs`; `powerW` is the mean over it. */
  recordPower(reading: Omit<PowerReading, 'expectedW'>): void {
    this.#expectUntil(reading.atMs)
    const { wattMs, fromMs } = this.#expected
    const ms = reading.atMs - fromMs
    this.#power.push({ ...reading, expectedW: ms > 0 ? wattMs / ms : this.#rungW })
    this.#expected = { wattMs: 0, fromMs: reading.atMs, sinceMs: reading.atMs }
  }

  get #figures(): readonly Rung[] {
    return this.#plan.figures ?? this.#plan.ladder
  }

  get #rungW(): number {
    return this.#plan.ladder[this.#state.rung]!.powerW
  }

  /** The present rung ran until now: in a second in which rungs change, each is expected to take its part. */
  #expectUntil(nowMs: number): void {
    this.#expected.wattMs += this.#rungW * Math.max(0, nowMs - this.#expected.sinceMs)
    this.#expected.sinceMs = nowMs
  }

  /** What a frame of a configuration should take: bits by the family's card, time and energy by the plan where it says. */
  expectationOf(configuration: Configuration): Expectation {
    const rung = this.#figures.find((each) => isSameGraph(each.configuration, configuration))
    return {
      bits: this.#rateModel.expectedBits(configuration),
      latencyMs: this.#expectedLatencyMs(configuration),
      joules: rung === undefined || rung.powerW === 0 ? undefined : rung.powerW / configuration.frameRate,
    }
  }

  factors(nowMs: number): Factors {
    const situation = this.#situation(nowMs)
    const timed = this.#sent.flatMap(({ latencyMs, configuration }) => {
      const expectedMs = this.#expectedLatencyMs(configuration)
      return latencyMs === undefined || expectedMs === undefined ? [] : [latencyMs / expectedMs]
    })
    const latency = timed.sort((a, b) => a - b)[timed.length >> 1] ?? 1
    return { rate: contentFactor(situation, 0), power: powerFactor(situation, 0), latency }
  }

  /** As predicted for the rung of the same graph; undefined if nobody did. */
  #expectedLatencyMs(ran: Configuration): number | undefined {
    const rung = this.#figures.find(({ configuration }) => isSameGraph(configuration, ran))
    return rung?.latencyMs === 0 ? undefined : rung?.latencyMs
  }

  #situation(nowMs: number): Situation {
    const isRecent = ({ atMs }: { atMs: number }): boolean => atMs > nowMs - WINDOW_MS
    this.#sent = this.#sent.filter(isRecent)
    this.#outcomes = this.#outcomes.filter(isRecent)
    this.#power = this.#power.filter(isRecent)
    const { ladder, leaseBps, leasePowerW } = this.#plan
    return {
      nowMs,
      ladder,
      leaseBps,
      leasePowerW,
      sent: this.#sent,
      power: this.#power,
      outcomes: this.#outcomes,
      expectedBps: this.#expectedBps,
      maxAlpha255: this.#rateModel.maxAlpha255,
    }
  }
}
