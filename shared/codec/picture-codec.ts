import type { CodecManifest } from '../manifest/codec-manifest.ts'
import type { AdapterCosts } from '../runtime/adapter-costs.ts'
import type { FrameKind } from './container.ts'

/** Interleaved RGB bytes, [height, width, 3]. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly rgb: Uint8Array
}

/** A frame as both sides have it: what an inter frame can follow. */
export interface FrameReference {
  readonly width: number
  readonly height: number
  readonly alpha255: number
  /** [channels, rows, columns]. */
  readonly symbols: Int16Array
  /** Of the frame's stream: names it. */
  readonly crc: number
}

export interface EncodedPicture {
  readonly stream: Uint8Array
  readonly frameKind: FrameKind
  /** For the next frame to follow. */
  readonly reference: FrameReference
  readonly timings: { readonly networkMs: number; readonly entropyMs: number }
}

export interface DecodedPicture extends Picture {
  readonly reference: FrameReference
}

export interface DecodedSymbols {
  readonly reference: FrameReference
  readonly bitsByChannel: Float64Array
}

export interface EncodeOptions {
  readonly variant: string
  /** 0 is the highest rate, 255 the lowest. May differ from frame to frame. */
  readonly alpha255: number
  /**
   * The frame before: where it helps, an inter frame is made, which only a receiver that has it can decode. A key
   * frame is made without it, after a change of size, and when the scene changed.
   */
  readonly reference?: FrameReference | undefined
}

export interface DecodeOptions {
  /** The frame before; a key frame needs none. */
  readonly reference?: FrameReference | undefined
  /** Which of the family's decoders; `full` unless told otherwise. */
  readonly decoder?: 'full' | 'light' | undefined
}

/** A family's encoders and decoders. One instance owns its sessions; calls must not overlap. */
export interface PictureCodec {
  readonly manifest: CodecManifest
  /**
   * Open these encoders, check each against its golden symbols (which also warms it up), and close all others. An
   * encoder that was never opened this way opens unchecked with its first frame.
   *
   * @throws {IntegrityError} If a blob is not what the manifest says, or golden symbols differ.
   * @throws {ModelError} If there is no such variant, or the backend refuses its graph. What was open stays open.
   */
  openVariants(variants: readonly string[]): Promise<void>
  encode(picture: Picture, options: EncodeOptions): Promise<EncodedPicture>
  /**
   * @throws {IntegrityError} If the stream is truncated, altered, of another family, or follows another frame than
   *   the reference.
   */
  decode(stream: Uint8Array, options?: DecodeOptions): Promise<DecodedPicture>
  /** What `decode` finds before any network runs: enough for the next frame to follow. @throws As `decode`. */
  decodeSymbols(stream: Uint8Array, options?: DecodeOptions): DecodedSymbols
  /** What a frame of this size costs with the adapter in each way, on this backend. @throws As `openVariants`. */
  measureAdapter(picture: Picture, variant: string): Promise<AdapterCosts>
  /** Between two frames: make constants of the weights of an encoder whose alpha has stayed for so many frames. */
  settle(bakeAfterFrames: number): Promise<void>
  close(): Promise<void>
}
