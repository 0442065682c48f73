import type { Picture } from '@espalier/shared/codec/picture-codec'
import sharp from 'sharp'

// The worker's cores are the encoder's; libvips would start a thread for each.
sharp.concurrency(1)

/** @returns The same picture when it has this size already. */
export async function resizePicture(picture: Picture, to: { width: number; height: number }): Promise<Picture> {
  const { width, height } = to
  if (picture.width === width && picture.height === height) return picture
  const raw = { width: picture.width, height: picture.height, channels: 3 as const }
  const rgb = await sharp(picture.rgb, { raw }).resize(width, height, { fit: 'fill' }).raw().toBuffer()
  return { width, height, rgb }
}
