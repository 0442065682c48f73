import type { Backend } from '@espalier/shared/runtime/session'

/** What one process opens: the runtime fixes its threads once, and memory is only one's own in a process of one's own. */
export interface ProfileSubject {
  readonly variant: string
  readonly backend: Backend
  readonly threads: number
}

/** What a codec is asked for beside; a classifier has one size and no alpha. */
export interface ProfilePoint {
  readonly width: number
  readonly height: number
  readonly alpha255: number
}

export interface ProfileOrder {
  readonly familyDir: string
  readonly subject: ProfileSubject
  /** In the order in which they are to run. */
  readonly points: readonly ProfilePoint[]
  /** WebAssembly gets its fast translation while it runs. */
  readonly warmUpMs: number
  readonly runs: number
}

export interface PointTimes {
  readonly point: ProfilePoint
  readonly latencyMs: readonly number[]
  /** CPU seconds of the process over all timed runs. */
  readonly cpuSeconds: number
}

/** Worker to parent; then it ends. */
export type ProfileReply =
  | {
      readonly kind: 'done'
      readonly times: readonly PointTimes[]
      readonly rssBytes: number /** Of the whole process. */
      readonly cpuSeconds: number
    }
  | { readonly kind: 'failed'; readonly reason: string; readonly isAbsent: boolean }
