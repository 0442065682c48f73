import type { EnergySource } from '@espalier/shared/messages/device'

/** How well a counter knows what it counted, since it was opened. */
export interface SamplingState {
  /** Readings that were used. */
  readonly samples: number
  /** Square joules: what sampling leaves unknown of all joules that were taken so far. */
  readonly varianceJ2: number
  /** Square joules: what is not settled yet at this moment, as the newest reading is held until the next one. */
  readonly heldVarianceJ2: number
}

/** A sensor that counts energy. */
export interface EnergyCounter {
  readonly source: EnergySource
  /** Relative half-width of the 95 % interval of the sensor's scale. Sampling comes on top. */
  readonly uncertainty: number
  /** Watts by which it may be off beside that, where a sensor is poor at low power. */
  readonly uncertaintyW?: number
  /** Absent: the hardware counts, nothing is lost between readings. */
  readonly sampling?: () => SamplingState
  /**
   * @returns Joules since the last reading; undefined when that cannot be known (first reading, counter was reset).
   * @throws {StoreError} If the sensor cannot be read now. Never 0 J instead.
   */
  take(nowMs: number): number | undefined
}
