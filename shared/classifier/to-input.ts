import type { Picture } from '../codec/picture-codec.ts'
import { type ClassifierInput, inputSize } from '../manifest/classifier-manifest.ts'

/** Places of red, green and blue among an input's channels. */
const ORDERS = { rgb: [0, 1, 2], bgr: [2, 1, 0] } as const
/** ITU-R BT.601. */
const LUMA = [0.299, 0.587, 0.114] as const

/**
 * Turn a picture into what a classifier takes.
 *
 * @param picture Of the input's size; not modified.
 * @returns Float32 in the input's layout; a new buffer.
 * @throws {RangeError} If the picture is of another size.
 */
export function toInput({ width, height, rgb }: Picture, input: ClassifierInput): Float32Array {
  const size = inputSize(input)
  if (width !== size.width || height !== size.height || rgb.length !== width * height * 3)
    throw new RangeError(
      `Cannot feed picture: found ${width} x ${height} of ${rgb.length} bytes, expected ${size.width} x ${size.height} x 3`,
    )
  const { channels } = size
  const area = width * height
  const data = new Float32Array(channels * area)
  for (let channel = 0; channel < channels; channel++) {
    const mean = input.mean?.[channel] ?? 0
    const deviation = input.deviation?.[channel] ?? 1
    const order = input.colour === 'grey' ? undefined : ORDERS[input.colour][channel]!
    const [start, step] = input.layout === 'nchw' ? [channel * area, 1] : [channel, channels]
    for (let i = 0; i < area; i++) {
      const level =
        order === undefined
          ? LUMA[0] * rgb[3 * i]! + LUMA[1] * rgb[3 * i + 1]! + LUMA[2] * rgb[3 * i + 2]!
          : rgb[3 * i + order]!
      data[start + i * step] = (level / 255 - mean) / deviation
    }
  }
  return data
}
