import { type Classification, formatClassification } from '@espalier/shared/classifier/classification'
import type { FrameKind } from '@espalier/shared/codec/container'

/** What a slot's task makes of a frame. */
export type FrameResult =
  | { readonly kind: 'stream'; readonly stream: Uint8Array; readonly frameKind: FrameKind }
  | { readonly kind: 'classification'; readonly classification: Classification }

/** How well a frame was done: decibels of what its stream decodes to, or whether the first variant says the same. */
export type QualitySample =
  | { readonly kind: 'psnr'; readonly psnrDb: number }
  | { readonly kind: 'agreement'; readonly agrees: boolean }

/** Bits of a result where it is kept or sent whole. */
export function bitsOf(result: FrameResult): number {
  if (result.kind === 'stream') return result.stream.byteLength * 8
  return new TextEncoder().encode(formatClassification(result.classification)).byteLength * 8
}
