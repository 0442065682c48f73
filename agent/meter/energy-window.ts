import { studentT95 } from '@espalier/shared/student-t'

/** Counters of a meter at one moment; only differences mean anything. */
export interface EnergyMark {
  /** Everything before this moment is booked. */
  readonly atMs: number
  readonly joules: number
  readonly idleJoules: number
  /** Joules that were modelled because nothing was measured. */
  readonly modelledJoules: number
  readonly coveredMs: number
  readonly readings: number
  readonly changes: number
  readonly varianceJ2: number
  /** Joules by which the scales of sensors and model may be off, at 95 %. */
  readonly scaleJ: number
}

export interface EnergyWindow {
  readonly seconds: number
  /** Everything, idle included. */
  readonly joules: number
  /** Above the idle baseline; may be negative in noise. */
  readonly dynamicJoules: number
  readonly modelledJoules: number
  /** 95 % half-width of what sampling leaves unknown. */
  readonly samplingJ: number
  /** 95 % half-width of the scale: sensor, correction, model. Does not shrink by measuring longer. */
  readonly scaleJ: number
  /** Both together. */
  readonly interval: readonly [low: number, high: number]
  /** Share of the window that readings cover, 0..1. */
  readonly coverage: number
}

/**
 * What sampling leaves unknown, as a 95 % half-width in joules.
 *
 * The variance comes from the readings themselves, two of which go to the line: n / (n - 2), and Student's t with half as
 * many degrees of freedom, as neighbouring residuals share readings. A sensor that is read more often than it measures
 * repeats itself, which says nothing new: only changes count, and each then stands for several readings.
 */
export function samplingHalfWidth(readings: number, changes: number, varianceJ2: number): number {
  if (varianceJ2 === 0) return 0
  const repeats = readings / Math.max(1, changes)
  const distinct = readings / repeats
  const spread = varianceJ2 * repeats * (distinct > 2 ? distinct / (distinct - 2) : distinct)
  return studentT95((distinct - 2) / 2) * Math.sqrt(spread)
}

/** What went by between two marks of one meter, the earlier one first. */
export function windowBetween(a: EnergyMark, b: EnergyMark): EnergyWindow {
  const seconds = (b.atMs - a.atMs) / 1000
  const joules = b.joules - a.joules
  const samplingJ = samplingHalfWidth(b.readings - a.readings, b.changes - a.changes, b.varianceJ2 - a.varianceJ2)
  const scaleJ = b.scaleJ - a.scaleJ
  const halfJ = Math.hypot(samplingJ, scaleJ)
  return {
    seconds,
    joules,
    dynamicJoules: joules - (b.idleJoules - a.idleJoules),
    modelledJoules: b.modelledJoules - a.modelledJoules,
    samplingJ,
    scaleJ,
    interval: [Math.max(0, joules - halfJ), joules + halfJ],
    coverage: seconds > 0 ? Math.min(1, (b.coveredMs - a.coveredMs) / 1000 / seconds) : 0,
  }
}

/**
 * The mean of repeated blocks, e.g. joules for each frame of runs back to back: the block is what is repeated, not
 * the reading.
 *
 * @returns Undefined for fewer than two blocks: nothing is known of their spread.
 */
export function meanOfBlocks(blocks: readonly number[]): { mean: number; halfWidth: number } | undefined {
  if (blocks.length < 2) return undefined
  const mean = blocks.reduce((sum, value) => sum + value, 0) / blocks.length
  const variance = blocks.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (blocks.length - 1)
  return { mean, halfWidth: studentT95(blocks.length - 1) * Math.sqrt(variance / blocks.length) }
}
