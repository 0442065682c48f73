import { BASELINE_NAMES, qualitiesOf, runBaseline } from '@espalier/forge/measure/baselines'
import { bdRatePct } from '@espalier/forge/measure/bd-rate'
import { msSsim } from '@espalier/forge/measure/ms-ssim'
import { psnrDb } from '@espalier/shared/codec/psnr'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const [WIDTH, HEIGHT] = [192, 176]

/** Smooth waves with some grain: compresses like a photograph. */
function makePicture(grain: number): Uint8Array {
  let state = 7
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state / 2 ** 32 - 0.5) * grain
  }
  return Uint8Array.from({ length: WIDTH * HEIGHT * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % WIDTH, Math.floor(i / 3 / WIDTH), i % 3]
    return Math.max(0, Math.min(255, 128 + 60 * Math.sin(x / 9 + c) + 50 * Math.cos(y / 13) + noise()))
  })
}

describe('psnrDb()', () => {
  test('knows the textbook value of a constant difference, and stays finite', () => {
    const a = { width: 10, height: 10, rgb: new Uint8Array(300).fill(100) }
    expect(psnrDb(a, { ...a, rgb: new Uint8Array(300).fill(101) })).toBeCloseTo(48.1308, 4)
    expect(psnrDb(a, a)).toBe(100)
    expect(() => psnrDb(a, { ...a, width: 20, height: 5 })).toThrow(RangeError)
  })
})

describe('msSsim()', () => {
  const clean = makePicture(0)

  test('is 1 for equal pictures and falls as noise grows', () => {
    const values = [0, 10, 40, 120].map((grain) => msSsim(clean, makePicture(grain), WIDTH, HEIGHT))
    expect(values[0]).toBeCloseTo(1, 6)
    for (let i = 1; i < values.length; i++) expect(values[i]).toBeLessThan(values[i - 1]!)
  })

  test('is symmetric, and refuses pictures too small for five scales', () => {
    const noisy = makePicture(50)
    expect(msSsim(clean, noisy, WIDTH, HEIGHT)).toBeCloseTo(msSsim(noisy, clean, WIDTH, HEIGHT), 6)
    expect(() => msSsim(new Uint8Array(300), new Uint8Array(300), 10, 10)).toThrow(/at least 176/)
  })
})

describe('bdRatePct()', () => {
  const curve = (factor: number, from = 28, to = 38) =>
    Array.from({ length: 6 }, (_, i) => {
      const psnrDb = from + ((to - from) * i) / 5
      return { bpp: factor * 0.1 * 1.25 ** (psnrDb - 28), psnrDb }
    })

  test('finds the factor between two curves that differ by one, wherever their points lie', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.3, max: 3, noNaN: true }),
        fc.double({ min: 26, max: 31, noNaN: true }),
        fc.double({ min: 33, max: 40, noNaN: true }),
        (factor, from, to) => {
          expect(bdRatePct(curve(1), curve(factor, from, to))).toBeCloseTo((factor - 1) * 100, 6)
        },
      ),
    )
  })

  test('agrees with an independent integration of a curved pair', () => {
    // Rates exp(a q^2) against exp(b q^2) on dense points: the mean log difference is (b - a) mean(q^2).
    const dense = (a: number) =>
      Array.from({ length: 200 }, (_, i) => ({ psnrDb: 30 + i / 50, bpp: Math.exp(a * (30 + i / 50) ** 2) }))
    const [low, high] = [30, 30 + 199 / 50]
    const meanSquare = (high ** 3 - low ** 3) / (3 * (high - low))
    const expected = (Math.exp((0.0012 - 0.001) * meanSquare) - 1) * 100
    expect(bdRatePct(dense(0.001), dense(0.0012))).toBeCloseTo(expected, 3)
  })

  test('refuses curves that share no quality, and single points', () => {
    expect(() => bdRatePct(curve(1, 20, 25), curve(1, 30, 35))).toThrow(/share no quality/)
    expect(() => bdRatePct(curve(1), [{ bpp: 1, psnrDb: 30 }])).toThrow(/at least 2/)
  })
})

describe('the rivals', () => {
  for (const name of BASELINE_NAMES) {
    test(`${name}: more quality takes more bytes and gives more decibels`, async () => {
      const picture = { width: WIDTH, height: HEIGHT, rgb: makePicture(30) }
      const ends = [qualitiesOf(name)[0]!, qualitiesOf(name).at(-1)!]
      const [low, high] = await Promise.all(ends.map((quality) => runBaseline(name, picture, quality)))
      expect(high!.bytes).toBeGreaterThan(low!.bytes)
      expect(psnrDb(picture, high!.decoded)).toBeGreaterThan(psnrDb(picture, low!.decoded))
    })
  }
})
