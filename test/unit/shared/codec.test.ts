import { join } from 'node:path'
import { readHeader, readStream, type StreamFields, writeStream } from '@espalier/shared/codec/container'
import { ContextModel, type SymbolFrame } from '@espalier/shared/codec/context-model'
import { crc32 } from '@espalier/shared/codec/crc32'
import { openFamilyCodec, padPicture } from '@espalier/shared/codec/open-codec'
import { RansDecoder, RansEncoder } from '@espalier/shared/codec/rans'
import { IntegrityError } from '@espalier/shared/errors'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const DIRECTORY = join(import.meta.dirname, '../../../models/kodo')
const family = await openCodecFamily(DIRECTORY)
const context = await ContextModel.open(await family.readBlob(family.manifest.entropy))
const codec = await openFamilyCodec(DIRECTORY, { threads: 1 })

/** Mostly small, sometimes at the ends of int16: every table, and escapes on both sides. */
const symbol = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: -3, max: 3 }) },
  { weight: 3, arbitrary: fc.integer({ min: -300, max: 300 }) },
  { weight: 1, arbitrary: fc.integer({ min: -32768, max: 32767 }) },
)

function writeSymbols(symbols: Int16Array, frame: SymbolFrame): Uint8Array {
  const encoder = new RansEncoder()
  context.write(encoder, symbols, frame)
  return encoder.finish()
}

function readSymbols(payload: Uint8Array, frame: SymbolFrame): Int16Array {
  const decoder = new RansDecoder(payload)
  const symbols = context.read(decoder, frame)
  decoder.finish()
  return symbols
}

const fields: StreamFields = {
  frameKind: 'key',
  variantIndex: 0,
  adapterIndex: 0,
  alpha255: 77,
  width: 33,
  height: 17,
  codecDigest: '0123456789abcdef',
  tablesDigest: '89abcdef',
  referenceCrc: 0,
}

describe('rANS', () => {
  test('gives back any sequence of symbols, escapes and none at all', () => {
    const step = fc.oneof(
      fc.record({ start: fc.integer({ min: 0, max: 65535 }), size: fc.integer({ min: 1, max: 65536 }) }),
      fc.record({ escape: fc.integer({ min: 0, max: 2 ** 20 - 2 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const encoder = new RansEncoder()
        const intervals = steps.map((s) =>
          'escape' in s ? s : { start: s.start, size: Math.min(s.size, 65536 - s.start) },
        )
        for (const s of intervals) 'escape' in s ? encoder.putEscape(s.escape) : encoder.put(s.start, s.size)
        const decoder = new RansDecoder(encoder.finish())
        for (const s of intervals) {
          if ('escape' in s) expect(decoder.takeEscape()).toBe(s.escape)
          else {
            expect(decoder.peek() >= s.start && decoder.peek() < s.start + s.size).toBe(true)
            decoder.take(s.start, s.size)
          }
        }
        decoder.finish()
      }),
    )
  })
})

describe('the context model', () => {
  test('gives back any symbols at any alpha, escapes and all zeros included', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 255 }),
        fc.array(symbol, { minLength: 1, maxLength: 200 }),
        (h, w, alpha255, some) => {
          const symbols = Int16Array.from({ length: context.channels * h * w }, (_, i) => some[i % some.length]!)
          const frame = { height: h, width: w, alpha255 }
          expect(readSymbols(writeSymbols(symbols, frame), frame)).toEqual(symbols)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('refuses any payload that is not exactly its own, and never hangs', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (payload) => {
        try {
          const frame = { height: 2, width: 2, alpha255: 0 }
          expect([...writeSymbols(readSymbols(payload, frame), frame)]).toEqual([...payload])
        } catch (error) {
          expect(error).toBeInstanceOf(IntegrityError)
        }
      }),
    )
  })
})

describe('the container', () => {
  test('gives back its fields and payload, empty ones too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (payload) => {
        const { header, payload: found } = readStream(writeStream(fields, payload))
        expect(header).toMatchObject(fields)
        expect([...found]).toEqual([...payload])
      }),
    )
  })

  test('refuses a picture without pixels and one too large to be meant', () => {
    const tooLarge = writeStream({ ...fields, width: 65535, height: 65535 }, Uint8Array.of(1))
    expect(() => readHeader(tooLarge)).toThrow(/65535 x 65535/)
    expect(() => readHeader(writeStream({ ...fields, width: 0 }, Uint8Array.of(1)))).toThrow(IntegrityError)
  })

  test('computes the check value of the CRC-32 standard', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
  })
})

describe('a real stream', async () => {
  const rgb = await family.readBlob(family.manifest.golden.picture)
  const { width, height } = family.manifest.golden
  const { stream } = await codec.encode({ width, height, rgb }, { variant: 'full', alpha255: 200 })

  test('every single-byte corruption is refused', () => {
    for (let at = 0; at < stream.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const altered = Uint8Array.from(stream)
        altered[at]! ^= flip
        expect(() => readStream(altered), `byte ${at} ^ ${flip}`).toThrow(IntegrityError)
      }
    }
  })

  test('every truncation is refused, and so is anything appended', () => {
    for (let length = 0; length < stream.length; length++)
      expect(() => readStream(stream.subarray(0, length)), `${length} bytes`).toThrow(IntegrityError)
    expect(() => readStream(Uint8Array.of(...stream, 0))).toThrow(IntegrityError)
  })

  test('a stream of another family is refused by name of its codec', async () => {
    const { header, payload } = readStream(stream)
    const foreign = writeStream({ ...header, codecDigest: 'ffffffffffffffff' }, payload)
    await expect(codec.decode(foreign)).rejects.toThrow(/of codec ffffffffffffffff/)
  })

  test('a well-formed stream with a wrong payload is refused', async () => {
    const { header, payload } = readStream(stream)
    await expect(codec.decode(writeStream(header, payload.subarray(0, -2)))).rejects.toThrow(IntegrityError)
    await expect(codec.decode(writeStream({ ...header, alpha255: 0 }, payload))).rejects.toThrow(IntegrityError)
  })

  test('a picture whose sides are no multiples of the stride comes back at its own size', async () => {
    const odd = { width: 37, height: 19, rgb: rgb.slice(0, 37 * 19 * 3) }
    const restored = await codec.decode((await codec.encode(odd, { variant: 'full', alpha255: 0 })).stream)
    expect([restored.width, restored.height, restored.rgb.length]).toEqual([37, 19, 37 * 19 * 3])
  })

  test('alpha changes what is coded without another session, and going back gives the same bytes', async () => {
    const at = (alpha255: number) => codec.encode({ width, height, rgb }, { variant: 'full', alpha255 })
    const low = await at(255)
    expect(low.stream.length).toBeLessThan(stream.length)
    expect((await at(200)).stream).toEqual(stream)
  })
})

test('padPicture() repeats the last row and column', () => {
  const padded = padPicture({ width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) }, 2)
  expect([...padded.rgb]).toEqual([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3])
})
