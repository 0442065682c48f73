import type { Labels } from '../rollout/selector.ts'

/** A metric of a subject, now. */
export interface Reading {
  /** A device, `device/slot`, `site:<id>`, `fleet`, or the id of a rollout. */
  readonly subject: string
  /** Of devices and their slots: what selectors see. */
  readonly labels?: Labels
  /** Undefined: it was not measured. */
  readonly value?: number | undefined
  /** Of flags. */
  readonly isTrue?: boolean | undefined
  /** In the metric's unit; undefined where none is set. */
  readonly budget?: number | undefined
}

/** All subjects of a metric. */
export type Readings = (metric: string) => readonly Reading[]
