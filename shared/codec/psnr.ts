import type { Picture } from './picture-codec.ts'

/** Equal pictures have no finite PSNR; sums need one. */
const MAX_PSNR_DB = 100

/**
 * Peak signal-to-noise ratio over all three channels.
 *
 * @returns Decibels, at most 100.
 * @throws {RangeError} If the pictures differ in size.
 */
export function psnrDb(a: Picture, b: Picture): number {
  if (a.width !== b.width || a.height !== b.height)
    throw new RangeError(`Cannot compare pictures: found ${a.width} x ${a.height} and ${b.width} x ${b.height}`)
  let squares = 0
  for (let i = 0; i < a.rgb.length; i++) squares += (a.rgb[i]! - b.rgb[i]!) ** 2
  return squares === 0 ? MAX_PSNR_DB : Math.min(MAX_PSNR_DB, 10 * Math.log10((255 ** 2 * a.rgb.length) / squares))
}
