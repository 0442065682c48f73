import { meanOfBlocks } from './energy-window.ts'

/** Busier than this share of all cores is not idle; a system always does a little. */
const QUIET_SHARE = 0.05
/** Enough for a first baseline, and to replace one. */
const FIRST_S = 2.5
const AGAIN_S = 10
/** Then it starts anew: rooms and boards warm up. */
const LONGEST_S = 60

/** What the device draws with nothing to do, measured with the sampling running. */
export interface Baseline {
  /** Of the sensor that it was measured with: another sees another part of the board. */
  readonly source: string
  readonly watts: number
  /** 95 % half-width. */
  readonly halfWidthW: number
  readonly seconds: number
  /** On the monotonic clock. */
  readonly measuredAtMs: number
}

/** Finds the idle power by looking at stretches in which nothing runs; keeps the last one through busy times. */
export class IdleBaseline {
  #current: Baseline | undefined
  #quiet: { source: string; watts: number[]; joules: number; seconds: number } | undefined

  /** @returns Undefined if none was measured with that source. */
  of(source: string): Baseline | undefined {
    return this.#current?.source === source ? this.#current : undefined
  }

  get current(): Baseline | undefined {
    return this.#current
  }

  /** What was measured by an earlier run of this agent. */
  restore(baseline: Baseline): void {
    this.#current = baseline
  }

  /** The device is another one now. */
  forget(): void {
    this.#current = undefined
    this.#quiet = undefined
  }

  /** @param busyShare Of all cores, all processes, 0..1. */
  observe(interval: { source: string; joules: number; seconds: number; busyShare: number; nowMs: number }): void {
    const { source, joules, seconds, busyShare, nowMs } = interval
    if (busyShare > QUIET_SHARE || seconds <= 0) {
      this.#quiet = undefined
      return
    }
    if (this.#quiet?.source !== source || this.#quiet.seconds > LONGEST_S)
      this.#quiet = { source, watts: [], joules: 0, seconds: 0 }
    const quiet = this.#quiet
    quiet.watts.push(joules / seconds)
    quiet.joules += joules
    quiet.seconds += seconds
    if (quiet.watts.length < 2 || quiet.seconds < (this.of(source) === undefined ? FIRST_S : AGAIN_S)) return
    const watts = quiet.joules / quiet.seconds
    this.#current = {
      source,
      watts,
      halfWidthW: meanOfBlocks(quiet.watts)!.halfWidth,
      seconds: quiet.seconds,
      measuredAtMs: nowMs,
    }
  }
}
