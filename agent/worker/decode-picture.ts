import type { Picture } from '@espalier/shared/codec/picture-codec'
import { describeError, ModelError } from '@espalier/shared/errors'
import sharp from 'sharp'
import type { SourcePicture } from '../source/source.ts'

/** @returns Pixels as they are; of an image file, those of its frame's size. @throws {ModelError} If it is no image. */
export async function decodePicture(picture: SourcePicture): Promise<Picture> {
  if ('rgb' in picture) return picture
  const { name, file, width, height } = picture
  try {
    const image = sharp(file).toColourspace('srgb').removeAlpha()
    return { width, height, rgb: await image.resize(width, height, { fit: 'fill' }).raw().toBuffer() }
  } catch (cause) {
    throw new ModelError(`Cannot read image "${name}": ${describeError(cause)}`, { cause })
  }
}
