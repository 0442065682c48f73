import type { Picture } from '@espalier/shared/codec/picture-codec'
import { toRgba } from '@espalier/shared/codec/to-rgba'
import { toPicture } from './to-picture.ts'

/** As `agent/worker/resize-picture.ts`, with the browser's own scaler. */
export async function resizePicture(picture: Picture, to: { width: number; height: number }): Promise<Picture> {
  const { width, height, rgb } = picture
  if (width === to.width && height === to.height) return picture
  const image = new ImageData(toRgba(rgb), width, height)
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
