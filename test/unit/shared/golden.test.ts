import { join } from 'node:path'
import { readStream, writeStream } from '@espalier/shared/codec/container'
import { ContextModel } from '@espalier/shared/codec/context-model'
import { openFamilyCodec, quantise } from '@espalier/shared/codec/open-codec'
import { RansDecoder, RansEncoder } from '@espalier/shared/codec/rans'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { beforeAll, describe, expect, test } from 'vitest'

const DIRECTORY = join(import.meta.dirname, '../../../models/kodo')

describe('the family that ships', async () => {
  const family = await openCodecFamily(DIRECTORY)
  const { golden, entropy, latent } = family.manifest
  const context = await ContextModel.open(await family.readBlob(entropy))
  const codec = await openFamilyCodec(DIRECTORY, { threads: 1 })
  const [h, w] = [Math.ceil(golden.height / latent.stride), Math.ceil(golden.width / latent.stride)]
  let picture: { width: number; height: number; rgb: Uint8Array }
  beforeAll(async () => {
    picture = { width: golden.width, height: golden.height, rgb: await family.readBlob(golden.picture) }
  })

  for (const { variant, alpha255, ...blobs } of golden.cases) {
    const read = async () => {
      const bytes = await family.readBlob(blobs.symbols)
      return {
        symbols: new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
        payload: await family.readBlob(blobs.payload),
        decoded: await family.readBlob(blobs.decoded),
      }
    }

    test(`${variant}, alpha ${alpha255}: the entropy coder writes the recipe's payload byte for byte`, async () => {
      const { symbols, payload } = await read()
      const encoder = new RansEncoder()
      context.write(encoder, symbols, { height: h, width: w, alpha255 })
      expect(Buffer.compare(encoder.finish(), payload)).toBe(0)
      expect(context.read(new RansDecoder(payload), { height: h, width: w, alpha255 })).toEqual(symbols)
    })

    test(`${variant}, alpha ${alpha255}: the encoder finds the golden symbols but for rounding edges`, async () => {
      const { symbols } = await read()
      const { reference } = await codec.encode(picture, { variant, alpha255 })
      const found = reference.symbols
      const differing = found.filter((symbol, i) => symbol !== symbols[i]).length
      expect(differing).toBeLessThanOrEqual(symbols.length / 500)
    })

    test(`${variant}, alpha ${alpha255}: the golden stream decodes to within one level of the golden picture`, async () => {
      const { payload, decoded } = await read()
      const { header } = readStream((await codec.encode(picture, { variant, alpha255 })).stream)
      const restored = await codec.decode(writeStream(header, payload))
      const worst = restored.rgb.reduce((most, level, i) => Math.max(most, Math.abs(level - decoded[i]!)), 0)
      expect(worst).toBeLessThanOrEqual(1)
    })
  }

  test('quantise() rounds half away from zero and keeps int16', () => {
    expect([...quantise(Float32Array.of(0.5, -0.5, 0.49, -1.5, 1e9, -1e9))]).toEqual([1, -1, 0, -2, 32767, -32767])
  })
})
