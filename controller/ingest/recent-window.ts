import type { TelemetryRow } from '../store/telemetry.ts'

/** Counters of one boot at three moments: what a device did lately is the difference of the last and the first. */
export interface RecentWindow {
  readonly first: TelemetryRow
  /** Becomes the first once it is old enough. */
  readonly next: TelemetryRow
  readonly last: TelemetryRow
}

/** Windows are between one and two of these long, or one message where messages are rarer. */
const STEP_MS = 5000

/** Take the next message in. Three messages are kept however many come, so a fleet of thousands fits into memory. */
export function extendWindow(window: RecentWindow | undefined, row: TelemetryRow): RecentWindow {
  if (window === undefined || window.last.boot !== row.boot) return { first: row, next: row, last: row }
  const isStep = row.monoMs - window.next.monoMs >= STEP_MS
  return isStep ? { first: window.next, next: row, last: row } : { ...window, last: row }
}
