import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '@espalier/shared/errors'
import sharp from 'sharp'

export interface LabelledPicture {
  /** Interleaved RGB bytes, [height, width, 3]. */
  readonly rgb: Uint8Array
  /** Class number; undefined where the folder has none. */
  readonly label: number | undefined
}

export interface PictureOptions {
  /** Pixels of each picture. */
  readonly width: number
  readonly height: number
  /** Only files whose names start with it. */
  readonly prefix?: string
  readonly limit?: number
}

/**
 * Read pictures. A folder holds either sheets - `val_00.png`, each row of pixels one picture in reading order, with
 * `val_00.labels.txt` beside it - or pictures of any size, which are resized.
 *
 * @throws {ConfigError} If there is no picture, or a sheet's row is no picture of this size.
 */
export async function readPictures(
  folder: string,
  { width, height, prefix = '', limit = Number.POSITIVE_INFINITY }: PictureOptions,
): Promise<LabelledPicture[]> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read pictures from "${folder}": ${cause.code}`, { cause })
  })
  const files = names.filter((name) => name.startsWith(prefix) && /\.(png|jpe?g|webp)$/i.test(name)).sort()
  if (files.length === 0)
    throw new ConfigError(`Cannot read pictures from "${folder}": found none that start with "${prefix}"`)
  const area = height * width
  const pictures: LabelledPicture[] = []
  for (const file of files) {
    if (pictures.length >= limit) break
    const labelFile = join(folder, file.replace(/\.\w+$/, '.labels.txt'))
    const listed = await readFile(labelFile, 'utf8').catch(() => undefined)
    const image = sharp(join(folder, file)).removeAlpha().toColourspace('srgb')
    if (listed === undefined) {
      pictures.push({ rgb: await image.resize(width, height, { fit: 'fill' }).raw().toBuffer(), label: undefined })
      continue
    }
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true })
    if (info.width !== area)
      throw new ConfigError(
        `Cannot read sheet "${file}": a row has ${info.width} pixels, expected ${height} x ${width}`,
      )
    const labels = listed.trim().split(/\s+/).map(Number)
    for (let row = 0; row < info.height && pictures.length < limit; row++)
      pictures.push({ rgb: data.subarray(row * area * 3, (row + 1) * area * 3), label: labels[row] })
  }
  return pictures
}
