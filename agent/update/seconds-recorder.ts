import { type Configuration, isSameGraph } from '@espalier/shared/configuration'
import type { DoneFrame } from '../slot/slot.ts'
import type { Second } from './judge-trial.ts'

/** Of the version that runs, for when another comes: enough for a median, and not of another time of day. */
const KEPT_SECONDS = 60

/** A second of frames as it was measured. */
export interface MeasuredSecond {
  readonly frames: readonly DoneFrame[]
  /** Of all frames together; undefined where nobody measured. */
  readonly joules: number | undefined
  readonly cpuSeconds: number | undefined
}

/** What a slot has used so far, counting up. */
export interface SlotTotals {
  readonly joules: number
  readonly cpuSeconds: number
}

/** Cuts what a slot does into seconds in which it did something. */
export class SecondsRecorder {
  #frames: DoneFrame[] = []
  #seconds: MeasuredSecond[] = []
  #before: SlotTotals | undefined
  #maxSeconds = KEPT_SECONDS
  #newest: Configuration | undefined

  get seconds(): readonly MeasuredSecond[] {
    return this.#seconds
  }

  note(frame: DoneFrame): void {
    // Another variant or size begins another story; of a version on trial, all of it counts.
    const isOther = this.#newest !== undefined && !isSameGraph(frame.configuration, this.#newest)
    if (isOther && this.#maxSeconds === KEPT_SECONDS) this.restart()
    this.#newest = frame.configuration
    this.#frames.push(frame)
  }

  /** Once a second. */
  close(totals: SlotTotals): void {
    const before = this.#before
    this.#before = totals
    const frames = this.#frames
    this.#frames = []
    if (frames.length === 0) return
    this.#seconds = [
      ...this.#seconds.slice(1 - this.#maxSeconds),
      {
        frames,
        joules: before === undefined ? undefined : totals.joules - before.joules,
        cpuSeconds: before === undefined ? undefined : totals.cpuSeconds - before.cpuSeconds,
      },
    ]
  }

  /** Another version has the frames from here on. @param maxSeconds Of it, that are kept. */
  restart(maxSeconds = KEPT_SECONDS): void {
    this.#frames = []
    this.#seconds = []
    this.#maxSeconds = maxSeconds
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

const expects = (seconds: readonly MeasuredSecond[], what: 'latencyMs' | 'joules'): boolean =>
  seconds.every(({ frames }) => frames.every(({ expected }) => expected[what] !== undefined))

/**
 * Two stretches of frames as the judge compares them: each figure divided by what was expected of it. Time and energy
 * are taken as they are unless both have expectations, where processor time is held to that of latency; of bits there
 * always is one, that of the card.
 */
export function toComparable(
  before: readonly MeasuredSecond[],
  now: readonly MeasuredSecond[],
): { readonly before: readonly Second[]; readonly now: readonly Second[] } {
  const [hasLatency, hasJoules] = [
    expects(before, 'latencyMs') && expects(now, 'latencyMs'),
    expects(before, 'joules') && expects(now, 'joules'),
  ]
  const convert = ({ frames, joules, cpuSeconds }: MeasuredSecond): Second => {
    const expectedJoules = hasJoules ? mean(frames.map(({ expected }) => expected.joules!)) : 1
    const expectedMs = hasLatency ? mean(frames.map(({ expected }) => expected.latencyMs!)) : 1
    return {
      latency: frames.map(({ latencyMs, expected }) => latencyMs / (hasLatency ? expected.latencyMs! : 1)),
      bits: mean(frames.map(({ bits, expected }) => bits / expected.bits)),
      joules: joules === undefined ? undefined : joules / frames.length / expectedJoules,
      cpu: cpuSeconds === undefined ? undefined : (1000 * cpuSeconds) / frames.length / expectedMs,
    }
  }
  return { before: before.map(convert), now: now.map(convert) }
}
