import type { Telemetry } from '@espalier/shared/messages/device'

interface Counted {
  readonly atMs: number
  readonly bits: number
  readonly frames: number
  readonly joules: number
  readonly deviceJoules: number
}

const WINDOW_MS = 10_000

export interface Rate {
  readonly bps: number
  /** Of the whole device. */
  readonly powerW: number
  /** Of the slot; undefined while there was no frame. */
  readonly joulesPerFrame: number | undefined
}

/** What counters say of the last ten seconds. */
export class Rates {
  #marks: Counted[] = []

  /** @returns Undefined before the second mark. */
  take(atMs: number, { energy }: Telemetry, { bits, frames, joules }: Telemetry['slots'][number]): Rate | undefined {
    const deviceJoules = energy.reduce((sum, each) => sum + each.joules, 0)
    const now = { atMs, bits, frames, joules, deviceJoules }
    // Counters begin anew with the agent.
    const isAnew = (this.#marks.at(-1)?.frames ?? 0) > frames
    this.#marks = isAnew ? [now] : [...this.#marks.filter((mark) => atMs - mark.atMs <= WINDOW_MS), now]
    const first = this.#marks[0]!
    const seconds = (atMs - first.atMs) / 1000
    if (seconds <= 0) return undefined
    return {
      bps: (bits - first.bits) / seconds,
      powerW: (deviceJoules - first.deviceJoules) / seconds,
      joulesPerFrame: frames > first.frames ? (joules - first.joules) / (frames - first.frames) : undefined,
    }
  }
}
