import type { Configuration } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import type { Telemetry } from '@espalier/shared/messages/device'
import type { QualitySample } from '../frame-result.ts'

type Counters = Omit<Telemetry['slots'][number], 'slot' | 'configuration' | 'joules' | 'idleJoules'>

/** Alpha is not part of it: changing alpha touches no session. */
function isSwap(from: Configuration, to: Configuration): boolean {
  return (
    from.variant !== to.variant ||
    from.mode !== to.mode ||
    from.backend !== to.backend ||
    from.width !== to.width ||
    from.height !== to.height ||
    from.frameRate !== to.frameRate
  )
}

/** What a slot did since boot. It lives in the control process, so a dying worker takes no counts with it. */
export class SlotRecorder {
  readonly #latency = new Histogram()
  readonly #counters = { frames: 0, dropped: 0, unsent: 0, late: 0, swaps: 0, bits: 0, psnrSum: 0, psnrCount: 0 }
  /** Undefined before the first sample: a codec has none ever. */
  #agreement: { agreements: number; comparisons: number } | undefined
  #configuration: Configuration | undefined

  get frames(): number {
    return this.#counters.frames
  }

  /** @returns Whether the frame came later than its configuration's frame interval. */
  recordFrame(frame: { configuration: Configuration; bits: number; latencyMs: number; isSent: boolean }): boolean {
    const counters = this.#counters
    const isLate = frame.latencyMs > 1000 / frame.configuration.frameRate
    counters.frames++
    counters.bits += frame.bits
    if (isLate) counters.late++
    if (!frame.isSent) counters.unsent++
    if (this.#configuration !== undefined && isSwap(this.#configuration, frame.configuration)) counters.swaps++
    this.#configuration = frame.configuration
    this.#latency.record(frame.latencyMs / 1000)
    return isLate
  }

  recordDropped(count: number): void {
    this.#counters.dropped += count
  }

  recordQuality(sample: QualitySample): void {
    if (sample.kind === 'psnr') {
      this.#counters.psnrSum += sample.psnrDb
      this.#counters.psnrCount++
      return
    }
    const { agreements, comparisons } = this.#agreement ?? { agreements: 0, comparisons: 0 }
    this.#agreement = { agreements: agreements + (sample.agrees ? 1 : 0), comparisons: comparisons + 1 }
  }

  counters(): Counters {
    return { ...this.#counters, ...this.#agreement, latency: this.#latency.counts() }
  }
}
