import { classify, formatClassification } from '@espalier/shared/classifier/classification'
import { checkGolden } from '@espalier/shared/classifier/golden'
import { toInput } from '@espalier/shared/classifier/to-input'
import type { ClassifierInput } from '@espalier/shared/manifest/classifier-manifest'
import { describe, expect, test } from 'vitest'

const input: ClassifierInput = {
  layout: 'nchw',
  dims: [1, 3, 1, 2],
  colour: 'rgb',
  mean: [0, 0.5, 0],
  deviation: [1, 0.5, 2],
}
const picture = { width: 2, height: 1, rgb: Uint8Array.of(255, 0, 51, 0, 255, 102) }
const rounded = (data: Float32Array): number[] => [...data].map((value) => Number(value.toFixed(4)))

describe('toInput()', () => {
  test('normalises each channel, plane by plane or pixel by pixel', () => {
    expect(rounded(toInput(picture, input))).toEqual([1, 0, -1, 1, 0.1, 0.2])
    expect(rounded(toInput(picture, { ...input, layout: 'nhwc', dims: [1, 1, 2, 3] }))).toEqual([1, -1, 0.1, 0, 1, 0.2])
  })

  test('turns colours around, or into one', () => {
    const plain = { layout: 'nchw' as const, dims: [1, 3, 1, 2] as ClassifierInput['dims'] }
    expect(rounded(toInput(picture, { ...plain, colour: 'bgr' }))).toEqual([0.2, 0.4, 0, 1, 1, 0])
    expect(rounded(toInput(picture, { ...plain, dims: [1, 1, 1, 2], colour: 'grey' }))).toEqual([0.3218, 0.6326])
  })

  test('refuses a picture of another size', () => {
    expect(() => toInput({ ...picture, width: 1, height: 2 }, input)).toThrow(/found 1 x 2 of 6 bytes, expected 2 x 1/)
  })
})

describe('classify()', () => {
  test('finds the likeliest class and its probability', () => {
    const labels = ['a', 'b', 'c']
    const found = classify(Float32Array.of(0, Math.log(3), 0), { scores: 'logits', labels })
    expect(found).toMatchObject({ index: 1, label: 'b' })
    expect(found.score).toBeCloseTo(0.6, 6)
    expect(classify(Float32Array.of(0.25, 0.75), { scores: 'probabilities' })).toEqual({
      index: 1,
      label: '1',
      score: 0.75,
    })
    expect(formatClassification(found)).toBe('{"index":1,"label":"b","score":0.6}')
  })
})

describe('checkGolden()', () => {
  const golden = { output: Float32Array.of(1, -2), tolerance: 0.1 }

  test('takes what is near, and nothing else', () => {
    expect(() => checkGolden('v', Float32Array.of(1.05, -2.05), golden)).not.toThrow()
    expect(() => checkGolden('v', Float32Array.of(1.2, -2), golden)).toThrow(/"v": golden value 0 is 1.2/)
    expect(() => checkGolden('v', Float32Array.of(1, Number.NaN), golden)).toThrow(/golden value 1 is NaN/)
    expect(() => checkGolden('v', Float32Array.of(1), golden)).toThrow(/found 1 golden values, expected 2/)
  })
})
