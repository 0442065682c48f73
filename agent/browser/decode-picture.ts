import type { Picture } from '@espalier/shared/codec/picture-codec'
import { describeError, ModelError } from '@espalier/shared/errors'
import type { SourcePicture } from '../source/source.ts'
import { toPicture } from './to-picture.ts'

/** As `agent/worker/decode-picture.ts`, with the browser's own decoder. */
export async function decodePicture(picture: SourcePicture): Promise<Picture> {
  if ('rgb' in picture) return picture
  const { name, file, width, height } = picture
  const bitmap = await createImageBitmap(new Blob([Uint8Array.from(file)])).catch((cause: unknown) => {
    throw new ModelError(`Cannot read image "${name}": ${describeError(cause)}`, { cause })
  })
  try {
    return toPicture(bitmap, { width, height })
  } finally {
    bitmap.close()
  }
}
