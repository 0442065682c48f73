import type { Picture } from '@espalier/shared/codec/picture-codec'
import type { Configuration } from '@espalier/shared/configuration'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame, RuntimeSpeed } from './messages.ts'

/** One slot's way from a source picture to what its task makes of it. Calls must not overlap. */
export interface Pipeline {
  /** Run everything once, so that no frame pays for opening it. */
  warmUp(): Promise<void>
  /** Time the first variant: the best of a few runs, because interruptions only add. */
  benchmark(): Promise<RuntimeSpeed>
  /** What `benchmark` found, here or in an earlier worker, for `settle` to go by. */
  heed(speed: RuntimeSpeed): void
  /**
   * Open what these variants need beside what runs, and close what no longer is: the next frames want only these.
   *
   * @throws {ModelError} {IntegrityError} If one cannot be used; what ran before still runs.
   */
  prepare(variants: readonly string[]): Promise<void>
  process(picture: Picture, configuration: Configuration, options: { keyFrame: boolean }): Promise<ProcessedFrame>
  /** Between two frames: what makes the next ones cheaper. */
  settle(): Promise<void>
  /** Of the newest frame, which was this picture; undefined where there is nothing to compare. */
  measureQuality(picture: Picture): Promise<QualitySample | undefined>
}
