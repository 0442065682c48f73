import { ContextModel } from '@espalier/shared/codec/context-model'
import type { Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { RansDecoder, RansEncoder } from '@espalier/shared/codec/rans'
import { InvariantError } from '@espalier/shared/errors'
import type { CodecFamily } from '@espalier/shared/manifest/open-family'

export interface EntropySpeed {
  readonly alpha: number
  readonly bitsPerPixel: number
  /** Share of symbols that are not zero: they are the work. */
  readonly nonZeroShare: number
  /** Contexts and coder together, one thread; medians over the rounds. */
  readonly encodeSymbolsPerS: number
  readonly decodeSymbolsPerS: number
}

const WARM_UP_ROUNDS = 3
const ROUNDS = 15

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!

/** Time the entropy coder alone on the symbols of a real picture. @param alphas In [0, 1]. */
export async function measureEntropySpeed(
  family: CodecFamily,
  codec: PictureCodec,
  picture: Picture,
  alphas: readonly number[],
): Promise<EntropySpeed[]> {
  const context = await ContextModel.open(await family.readBlob(family.manifest.entropy))
  const { stride } = family.manifest.latent
  const variant = family.manifest.variants[0]!.id
  const speeds: EntropySpeed[] = []
  for (const alpha of alphas) {
    const alpha255 = Math.round(alpha * 255)
    const { reference, stream } = await codec.encode(picture, { variant, alpha255 })
    const { symbols } = reference
    const frame = { height: Math.ceil(picture.height / stride), width: Math.ceil(picture.width / stride), alpha255 }
    const [encodeMs, decodeMs]: [number[], number[]] = [[], []]
    for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
      const started = performance.now()
      const encoder = new RansEncoder()
      context.write(encoder, symbols, frame)
      const payload = encoder.finish()
      const written = performance.now()
      const decoder = new RansDecoder(payload)
      const back = context.read(decoder, frame)
      decoder.finish()
      const read = performance.now()
      if (back.some((symbol, i) => symbol !== symbols[i]))
        throw new InvariantError(`Cannot time the entropy coder: symbols did not come back at alpha ${alpha}`)
      if (round < 0) continue
      encodeMs.push(written - started)
      decodeMs.push(read - written)
    }
    speeds.push({
      alpha,
      bitsPerPixel: (stream.length * 8) / (picture.width * picture.height),
      nonZeroShare: symbols.filter((symbol) => symbol !== 0).length / symbols.length,
      encodeSymbolsPerS: Math.round((symbols.length * 1000) / median(encodeMs)),
      decodeSymbolsPerS: Math.round((symbols.length * 1000) / median(decodeMs)),
    })
  }
  return speeds
}
