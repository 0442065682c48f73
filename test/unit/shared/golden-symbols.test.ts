import { join } from 'node:path'
import { checkFinite, checkSymbols } from '@espalier/shared/codec/golden-symbols'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import { describe, expect, test } from 'vitest'

const FAMILY = join(import.meta.dirname, '../../../models/kodo')

test('checkFinite() refuses NaN and infinity, and says where', () => {
  expect(() => checkFinite(Float32Array.of(1, -2), 'v')).not.toThrow()
  expect(() => checkFinite(Float32Array.of(1, Number.NaN), 'v')).toThrow(/"v": latent value 1 is NaN/)
  expect(() => checkFinite(Float32Array.of(Number.POSITIVE_INFINITY), 'v')).toThrow(/is Infinity/)
})

test('checkSymbols() allows two of a thousand at rounding edges', () => {
  const expected = new Int16Array(1000)
  expect(() => checkSymbols('v', Int16Array.from(expected).fill(1, 0, 2), expected)).not.toThrow()
  expect(() => checkSymbols('v', Int16Array.from(expected).fill(1, 0, 3), expected)).toThrow(/3 of 1000/)
  expect(() => checkSymbols('v', new Int16Array(999), expected)).toThrow(/found 999 golden symbols, expected 1000/)
})

describe('openVariants()', () => {
  test('opens and checks every encoder that ships, and refuses one that is not there', async () => {
    const codec = await openFamilyCodec(FAMILY, { threads: 1 })
    await codec.openVariants(codec.manifest.variants.map(({ id }) => id))
    await expect(codec.openVariants(['absent'])).rejects.toThrow(/"absent"/)
    await codec.close()
  })
})
