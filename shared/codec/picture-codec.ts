import type { Manifest } from '../manifest/manifest.ts'

/** Interleaved RGB bytes, [height, width, 3]. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly rgb: Uint8Array
}

export interface EncodedPicture {
  readonly stream: Uint8Array
  readonly timings: { readonly networkMs: number; readonly entropyMs: number }
}

/**
 * A family's encoder and decoder. One instance owns its sessions; calls must not overlap.
 * `setAlpha` merges the adapter into the weights that the next frame is fed: no session is touched.
 */
export interface PictureCodec {
  readonly manifest: Manifest
  encode(picture: Picture, options: { variant: string; alpha255: number }): Promise<EncodedPicture>
  /** @throws {IntegrityError} If the stream is truncated, altered, or of another family. */
  decode(stream: Uint8Array): Promise<Picture>
  close(): Promise<void>
}
