import type { Picture } from '@espalier/shared/codec/picture-codec'

/** A picture and the moment it was due: latency counts from there, however late the picture itself was. */
export interface SourceFrame {
  readonly picture: Picture
  /** Monotonic milliseconds. */
  readonly arrivedMs: number
  /** Milliseconds since 1970, for the receiver only. */
  readonly capturedWallMs: number
  /** Frames before this one that were due while the agent was stopped. */
  readonly skippedBefore: number
}

/** Gives the next picture each time, always of the same size; undefined at the end. */
export interface PictureStream {
  readonly width: number
  readonly height: number
  next(): Promise<Picture | undefined>
  close(): Promise<void>
}
