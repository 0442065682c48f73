import type { EnergySource } from '@espalier/shared/messages/device'

/** What became of the time between two questions. Nothing is said of what is not settled yet: it comes next time. */
export interface Taken {
  /** Of `knownMs`. */
  readonly joules: number
  /** Time whose joules are known. */
  readonly knownMs: number
  /** Of `knownMs`, what readings cover closely; the rest was interpolated over late readings. */
  readonly coveredMs: number
  /** Time that nobody measured: an error state, never 0 J. */
  readonly missingMs: number
  /** Readings, and how many of them differed from the one before. */
  readonly readings: number
  readonly changes: number
  /** Readings that failed. */
  readonly failures: number
  /** Square joules that sampling leaves unknown; 0 where the hardware counts. See power-integrator.ts. */
  readonly varianceJ2: number
  /** Why the newest reading failed; undefined if it did not. */
  readonly failure: string | undefined
}

export const NOTHING_TAKEN: Taken = {
  joules: 0,
  knownMs: 0,
  coveredMs: 0,
  missingMs: 0,
  readings: 0,
  changes: 0,
  failures: 0,
  varianceJ2: 0,
  failure: undefined,
}

/** A way of knowing how much energy went by, whoever integrates it. */
export interface EnergyCounter {
  readonly source: EnergySource
  /** Relative half-width of the 95 % interval of the sensor's scale. Sampling comes on top. */
  readonly uncertainty: number
  /** Watts by which it may be off beside that, where a sensor is poor at low power. */
  readonly uncertaintyW: number
  /** Share of one core that looking at it costs now. */
  readonly costShare: number
  /** Forget what was before. */
  begin(nowMs: number): void
  take(nowMs: number): Taken
  /** Look at it as often as it needs, until aborted. */
  run(signal: AbortSignal): Promise<void>
}
