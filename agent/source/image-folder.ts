import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { ConfigError, describeError } from '@espalier/shared/errors'
import sharp from 'sharp'
import type { PictureStream } from './source.ts'

const IMAGE_NAME = /\.(png|jpe?g|webp|avif|tiff?|gif)$/i

async function readPicture(path: string, size?: { width: number; height: number }): Promise<Picture> {
  const image = sharp(path).toColourspace('srgb').removeAlpha()
  const sized = size === undefined ? image : image.resize(size.width, size.height, { fit: 'fill' })
  const { data, info } = await sized.raw().toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, rgb: data }
}

/**
 * The images of a folder, sorted by name, as frames of the first image's size.
 *
 * @throws {ConfigError} If there is no folder or no image in it.
 */
export async function openImageFolder(path: string, { loop }: { loop: boolean }): Promise<PictureStream> {
  const names = await readdir(path).catch((cause: unknown) => {
    throw new ConfigError(`Cannot open image folder "${path}": ${describeError(cause)}`, { cause })
  })
  const paths = names
    .filter((name) => IMAGE_NAME.test(name))
    .sort()
    .map((name) => join(path, name))
  if (paths.length === 0)
    throw new ConfigError(`Cannot open image folder "${path}": found no image, expected .png, .jpg, .webp or the like`)
  const { width, height } = await readPicture(paths[0]!).catch((cause: unknown) => {
    throw new ConfigError(`Cannot read image "${paths[0]}": ${describeError(cause)}`, { cause })
  })
  let position = 0
  return {
    width,
    height,
    async next() {
      if (position === paths.length) {
        if (!loop) return undefined
        position = 0
      }
      return readPicture(paths[position++]!, { width, height })
    },
    close: async () => undefined,
  }
}
