import type { Picture } from '@espalier/shared/codec/picture-codec'
import { toPicture } from './to-picture.ts'

/** As `agent/worker/resize-picture.ts`, with the browser's own scaler. */
export async function resizePicture(picture: Picture, to: { width: number; height: number }): Promise<Picture> {
  const { width, height, rgb } = picture
  if (width === to.width && height === to.height) return picture
  const image = new ImageData(width, height)
  for (let from = 0, at = 0; from < rgb.length; from += 3, at += 4) {
    image.data[at] = rgb[from]!
    image.data[at + 1] = rgb[from + 1]!
    image.data[at + 2] = rgb[from + 2]!
    image.data[at + 3] = 255
  }
  // Asked for at the right size, the browser averages what it shrinks; drawing alone would skip pixels.
  const bitmap = await createImageBitmap(image, {
    resizeWidth: to.width,
    resizeHeight: to.height,
    resizeQuality: 'high',
  })
  try {
    return toPicture(bitmap, to)
  } finally {
    bitmap.close()
  }
}
