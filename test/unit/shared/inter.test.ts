import { join } from 'node:path'
import { MODE, readModes, writeModes } from '@espalier/shared/codec/block-modes'
import { ContextModel } from '@espalier/shared/codec/context-model'
import { planInterFrame, toPrediction } from '@espalier/shared/codec/inter'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, Picture } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { RansDecoder, RansEncoder } from '@espalier/shared/codec/rans'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../../..')
const family = await openCodecFamily(join(ROOT, 'models/kodo'))
const context = await ContextModel.open(await family.readBlob(family.manifest.entropy))
const codec = await openFamilyCodec(join(ROOT, 'models/kodo'), { threads: 1 })
const { channels } = family.manifest.latent

async function clipFrame(index: number): Promise<Picture> {
  const name = `${String(index).padStart(4, '0')}.webp`
  const { data, info } = await sharp(join(ROOT, 'models/clip', name))
    .extract({ left: 0, top: 64, width: 256, height: 160 })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, rgb: data }
}

describe('block modes', () => {
  test('come back, whatever they are', () => {
    const modes = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 300 }))
    fc.assert(
      fc.property(modes, ([width, some]) => {
        const height = Math.max(1, Math.floor(some.length / width))
        const map = Uint8Array.from({ length: width * height }, (_, i) => some[i] ?? 0)
        const encoder = new RansEncoder()
        writeModes(encoder, map, width)
        const decoder = new RansDecoder(encoder.finish())
        expect(readModes(decoder, height, width)).toEqual(map)
        decoder.finish()
      }),
    )
  })

  test('cost next to nothing where all are alike', () => {
    const encoder = new RansEncoder()
    writeModes(encoder, new Uint8Array(32 * 18).fill(MODE.skip), 32)
    expect(encoder.finish().length).toBeLessThan(30)
  })
})

describe('an inter frame', () => {
  const symbol = fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: -3, max: 3 }) },
    { weight: 1, arbitrary: fc.integer({ min: -32768, max: 32767 }) },
  )

  test('comes back from any reference, any modes and any alpha', () => {
    fc.assert(
      fc.property(
        fc.array(symbol, { minLength: 1, maxLength: 100 }),
        fc.array(symbol, { minLength: 1, maxLength: 90 }),
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 6, maxLength: 6 }),
        fc.integer({ min: 0, max: 255 }),
        (own, before, map, alpha255) => {
          const frame = { height: 2, width: 3, alpha255 }
          const modes = Uint8Array.from(map)
          const prediction = toPrediction(
            Int16Array.from({ length: channels * 6 }, (_, i) => before[i % before.length]!),
            modes,
          )
          const symbols = Int16Array.from({ length: channels * 6 }, (_, i) =>
            modes[i % 6] === MODE.skip ? prediction.symbols[i]! : own[i % own.length]!,
          )
          const encoder = new RansEncoder()
          context.write(encoder, symbols, { ...frame, prediction })
          const decoder = new RansDecoder(encoder.finish())
          expect(context.read(decoder, { ...frame, prediction })).toEqual(symbols)
          decoder.finish()
        },
      ),
      { numRuns: 40 },
    )
  })

  test('keeps symbols that are near, leaves still places out and starts anew where nothing helps', () => {
    const reference = Int16Array.of(4, 4, 4, 4)
    const plan = (latent: number[]) => {
      const values = Float32Array.from(latent)
      return planInterFrame(values, Int16Array.from(latent, Math.round), reference, 4)
    }
    const near = plan([4.6, 4, 3.5, 4.2])!
    expect([...near.symbols]).toEqual([4, 4, 4, 4])
    expect([...near.modes]).toEqual([MODE.skip, MODE.skip, MODE.skip, MODE.skip])
    const moved = plan([4, 6.2, 4, 0.1])!
    expect([...moved.symbols]).toEqual([4, 6, 4, 0])
    expect([...moved.modes]).toEqual([MODE.skip, MODE.inter, MODE.skip, MODE.intra])
    expect(plan([-9, -9, -9, 9])).toBeUndefined()
  })

  test('rescales symbols to another alpha and back within a step, and leaves them alone at the same', () => {
    const symbols = Int16Array.from({ length: channels }, (_, i) => (i % 9) * 5 - 20)
    expect(context.rescale(symbols, 90, 90)).toBe(symbols)
    const coarse = context.rescale(symbols, 0, 255)
    expect(coarse.some((value, i) => Math.abs(value) < Math.abs(symbols[i]!))).toBe(true)
    expect(coarse.every((value, i) => Math.abs(value) <= Math.abs(symbols[i]!))).toBe(true)
  })
})

describe('a fixed camera', async () => {
  const frames = await Promise.all([10, 11, 12].map(clipFrame))

  test('takes fewer bits for frames that follow, at nearly the same quality, at alphas that change', async () => {
    let sent: FrameReference | undefined
    let received: FrameReference | undefined
    const bytes: number[] = []
    for (const [i, frame] of frames.entries()) {
      const alpha255 = [40, 40, 44][i]!
      const encoded = await codec.encode(frame, { variant: 'full', alpha255, reference: sent })
      const decoded = await codec.decode(encoded.stream, { reference: received })
      expect(encoded.frameKind).toBe(i === 0 ? 'key' : 'inter')
      expect(decoded.reference).toEqual(encoded.reference)
      const key = await codec.encode(frame, { variant: 'full', alpha255 })
      const alone = psnrDb(await codec.decode(key.stream), frame)
      expect(psnrDb(decoded, frame)).toBeGreaterThan(alone - 1.5)
      bytes.push(encoded.stream.length / key.stream.length)
      sent = encoded.reference
      received = decoded.reference
    }
    expect(Math.max(...bytes.slice(1))).toBeLessThan(0.95)
  })

  test('never shows a wrong picture after a loss: the next frame is refused until a key frame comes', async () => {
    const options = { variant: 'full', alpha255: 60 }
    const first = await codec.encode(frames[0]!, options)
    const second = await codec.encode(frames[1]!, { ...options, reference: first.reference })
    const third = await codec.encode(frames[2]!, { ...options, reference: second.reference })
    const shown = await codec.decode(first.stream)
    await expect(codec.decode(third.stream, { reference: shown.reference })).rejects.toThrow(
      /follows frame .* key frame/,
    )
    await expect(codec.decode(third.stream)).rejects.toThrow(/found none/)
    const key = await codec.encode(frames[2]!, options)
    expect((await codec.decode(key.stream)).reference.symbols).toEqual(key.reference.symbols)
  })

  test('gets a key frame when the scene changes, and after a change of size', async () => {
    const options = { variant: 'full', alpha255: 60 }
    const { reference } = await codec.encode(frames[0]!, options)
    const inverted = { ...frames[1]!, rgb: frames[1]!.rgb.map((level, i) => (level * 7 + i * 13) & 255) }
    expect((await codec.encode(inverted, { ...options, reference })).frameKind).toBe('key')
    const { width, rgb } = frames[1]!
    const cropped = { width, height: 144, rgb: rgb.subarray(0, width * 144 * 3) }
    expect((await codec.encode(cropped, { ...options, reference })).frameKind).toBe('key')
  })
})
