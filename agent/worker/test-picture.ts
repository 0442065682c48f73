import type { Picture } from '@espalier/shared/codec/picture-codec'

/** A picture of no meaning, to warm up and time with. */
export function testPicture(width: number, height = width): Picture {
  return { width, height, rgb: new Uint8Array(width * height * 3).map((_, i) => (i * 31) & 0xff) }
}
