import type { Picture } from '@espalier/shared/codec/picture-codec'

/**
 * A picture as its source has it: pixels, or an image file that the worker decodes. The decoder of image files takes 30 MB,
 * which the worker has loaded anyway and the control process needs for nothing else.
 */
export type SourcePicture = Picture | ImageFile

export interface ImageFile {
  /** Of the frame: an image of another size is brought to it. */
  readonly width: number
  readonly height: number
  /** For errors. */
  readonly name: string
  readonly file: Uint8Array
}

/** A picture and the moment it was due: latency counts from there, however late the picture itself was. */
export interface SourceFrame {
  readonly picture: SourcePicture
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
  next(): Promise<SourcePicture | undefined>
  close(): Promise<void>
}
