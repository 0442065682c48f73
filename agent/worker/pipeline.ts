import type { Picture } from '@espalier/shared/codec/picture-codec'
import type { Configuration } from '@espalier/shared/configuration'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame } from './messages.ts'

/** One slot's way from a source picture to what its task makes of it. Calls must not overlap. */
export interface Pipeline {
  /** Run everything once, so that no frame pays for opening it. */
  warmUp(): Promise<void>
  /**
   * Time the first variant.
   *
   * @returns Multiply-accumulates a second for one thread: the best of a few runs, because interruptions only add.
   */
  benchmark(threads: number): Promise<number>
  /**
   * Open what these variants need beside what runs, and close what no longer is: the next frames want only these.
   *
   * @throws {ModelError} {IntegrityError} If one cannot be used; what ran before still runs.
   */
  prepare(variants: readonly string[]): Promise<void>
  process(picture: Picture, configuration: Configuration, options: { keyFrame: boolean }): Promise<ProcessedFrame>
  /** Of the newest frame, which was this picture; undefined where there is nothing to compare. */
  measureQuality(picture: Picture): Promise<QualitySample | undefined>
}
