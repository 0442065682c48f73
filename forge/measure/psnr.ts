/**
 * Peak signal-to-noise ratio over all samples, decibels.
 *
 * @param a Bytes, any layout. @param b Of the same length.
 * @returns Infinity for equal inputs.
 * @throws {RangeError} If the lengths differ or are zero.
 */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length || a.length === 0)
    throw new RangeError(`Cannot compare pictures: found ${a.length} and ${b.length} bytes, expected the same, over 0`)
  let squares = 0
  for (let i = 0; i < a.length; i++) squares += (a[i]! - b[i]!) ** 2
  return squares === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((255 ** 2 * a.length) / squares)
}
