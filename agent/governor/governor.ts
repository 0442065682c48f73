import type { Configuration } from '@espalier/shared/configuration'
import type { Rung } from '@espalier/shared/messages/controller'
import {
  type BrakeState,
  brake,
  configurationAt,
  type FrameOutcome,
  initialState,
  type SentFrame,
  type Situation,
  WINDOW_MS,
} from './brake.ts'

/** What a task's results are expected to take, and whether alpha has a say in it. */
export interface RateModel {
  /** Bits per second, > 0. */
  readonly expectedBps: (configuration: Configuration, ladder: readonly Rung[]) => number
  readonly maxAlpha255: number
}

export interface Plan {
  readonly ladder: readonly Rung[]
  /** Bits per second; undefined: no limit. */
  readonly leaseBps: number | undefined
}

/** Remembers what one slot sent lately, and asks the brake before each frame. */
export class Governor {
  readonly #rateModel: RateModel
  #plan: Plan
  #state: BrakeState
  #sent: SentFrame[] = []
  #outcomes: FrameOutcome[] = []

  constructor(plan: Plan, nowMs: number, rateModel: RateModel) {
    this.#plan = plan
    this.#rateModel = rateModel
    this.#state = initialState(plan.ladder, nowMs)
  }

  /** What the last decision runs. */
  get configuration(): Configuration {
    return configurationAt(this.#plan.ladder, this.#state)
  }

  /** Whether that is less than planned. */
  get isBraking(): boolean {
    return this.#state.rung > 0 || this.#state.alpha255 !== this.#plan.ladder[0]!.configuration.alpha255
  }

  /** Follow another plan from the next frame on. What was sent under the last one still counts against the lease. */
  follow(plan: Plan, nowMs: number): void {
    this.#plan = plan
    this.#outcomes = []
    this.#state = brake(initialState(plan.ladder, nowMs), this.#situation(nowMs), { isNewPlan: true })
  }

  /** The configuration of the frame that is about to be worked on. */
  decide(nowMs: number): Configuration {
    this.#state = brake(this.#state, this.#situation(nowMs))
    return this.configuration
  }

  recordSent(frame: SentFrame): void {
    this.#sent.push(frame)
  }

  recordOutcome(outcome: FrameOutcome): void {
    this.#outcomes.push(outcome)
  }

  #situation(nowMs: number): Situation {
    const isRecent = ({ atMs }: { atMs: number }): boolean => atMs > nowMs - WINDOW_MS
    this.#sent = this.#sent.filter(isRecent)
    this.#outcomes = this.#outcomes.filter(isRecent)
    const { ladder, leaseBps } = this.#plan
    return {
      nowMs,
      ladder,
      leaseBps,
      sent: this.#sent,
      outcomes: this.#outcomes,
      expectedBps: (configuration) => this.#rateModel.expectedBps(configuration, ladder),
      maxAlpha255: this.#rateModel.maxAlpha255,
    }
  }
}
