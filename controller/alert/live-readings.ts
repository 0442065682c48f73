import type { DeviceId } from '@espalier/shared/ids'
import { type Measured, measureWhole } from '../planner/measure.ts'
import type { TelemetryRow } from '../store/telemetry.ts'

/** What a device does now. */
export interface LiveReading extends Measured {
  readonly isThrottled?: boolean
  /** The hottest zone. */
  readonly celsius?: number
  readonly spoolBytes: number
  readonly monthBytes?: number
}

/** A window is between one and two of these, or one message where a device says something less often. */
const HALF_MS = 5000
/** A device of which nothing came for longer says nothing of now. */
const STALE_MS = 60_000

interface Window {
  readonly from: TelemetryRow
  readonly middle: TelemetryRow
  readonly last: TelemetryRow
  readonly intervalMs: number
  readonly heardMs: number
}

/** The last seconds of each device's counters, in memory: rules are judged every few seconds, and a database is slow. */
export class LiveReadings {
  readonly #windows = new Map<DeviceId, Window>()

  observe(device: DeviceId, before: TelemetryRow, after: TelemetryRow, nowMs: number): void {
    const found = this.#windows.get(device)
    const known = found?.last.boot === after.boot ? found : undefined
    const { from, middle } = known ?? { from: before, middle: before }
    const isFull = after.monoMs - middle.monoMs >= HALF_MS
    this.#windows.set(device, {
      from: isFull ? middle : from,
      middle: isFull ? after : middle,
      last: after,
      intervalMs: after.monoMs - before.monoMs,
      heardMs: nowMs,
    })
  }

  clear(): void {
    this.#windows.clear()
  }

  of(device: DeviceId, nowMs: number): LiveReading | undefined {
    const window = this.#windows.get(device)
    if (window === undefined || nowMs - window.heardMs > Math.max(STALE_MS, 3 * window.intervalMs)) return undefined
    const { from: first, last } = window
    const { machine, self, link } = last.counters
    const zones = Object.values(machine?.celsius ?? {})
    return {
      ...measureWhole(first, last),
      ...(machine === undefined ? {} : { isThrottled: machine.throttledNow.length > 0 }),
      ...(zones.length === 0 ? {} : { celsius: Math.max(...zones) }),
      spoolBytes: self.spoolBytes,
      ...(link === undefined ? {} : { monthBytes: link.monthBytes }),
    }
  }
}
