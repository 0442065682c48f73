import type { FrameKind } from '@espalier/shared/codec/container'
import {
  alphaFor,
  bitsAt,
  controlFrame,
  createRateControl,
  type RateCurvePoint,
} from '@espalier/shared/codec/rate-control'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const CURVE: readonly RateCurvePoint[] = [0, 64, 128, 192, 255].map((alpha255) => ({
  alpha255,
  bits: 160_000 * Math.exp((-1.6 * alpha255) / 255),
}))
const FRAME_RATE = 12.5

/** A camera whose frames cost the curve times a factor that wanders and jumps. */
async function run(settings: {
  targetBps: number
  frames: number
  content: (i: number) => number
  isKey: (i: number) => boolean
}) {
  let control = createRateControl({ targetBps: settings.targetBps, frameRate: FRAME_RATE, curve: CURVE, burst: 1.15 })
  const sent: { atS: number; bits: number }[] = []
  let skipped = 0
  for (let i = 0; i < settings.frames; i++) {
    const frameKind: FrameKind = settings.isKey(i) ? 'key' : 'inter'
    const atS = i / FRAME_RATE
    const result = await controlFrame(control, { frameKind, atS }, async (alpha255) => ({
      frameKind,
      bits: Math.round(bitsAt(CURVE, alpha255) * settings.content(i) * (frameKind === 'key' ? 1 : 0.35)),
    }))
    control = result.control
    if (result.sent === undefined) skipped++
    else sent.push({ atS, bits: result.sent.bits })
  }
  const windows = sent.map(({ atS }) =>
    sent.filter((frame) => frame.atS > atS - 1 && frame.atS <= atS).reduce((sum, { bits }) => sum + bits, 0),
  )
  const mean = (sent.reduce((sum, { bits }) => sum + bits, 0) * FRAME_RATE) / settings.frames
  return { mean, worstWindow: Math.max(0, ...windows), skipped }
}

describe('the rate curve', () => {
  test('is inverted to the smallest alpha that fits', () => {
    fc.assert(
      fc.property(fc.double({ min: 1000, max: 300_000, noNaN: true }), (bits) => {
        const alpha255 = alphaFor(CURVE, bits)
        if (alpha255 < 255) expect(bitsAt(CURVE, alpha255)).toBeLessThanOrEqual(bits)
        if (alpha255 > 0) expect(bitsAt(CURVE, alpha255 - 1)).toBeGreaterThan(bits)
      }),
    )
  })

  test('must fall', () => {
    const flat = [CURVE[0]!, { alpha255: 255, bits: CURVE[0]!.bits }]
    expect(() => createRateControl({ targetBps: 1, frameRate: 1, curve: flat, burst: 1.15 })).toThrow(/falling curve/)
  })
})

describe('rate control', () => {
  test('holds the cap in every second, whatever the scene does', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 40_000, max: 900_000 }),
        fc.array(fc.double({ min: 0.1, max: 4, noNaN: true }), { minLength: 20, maxLength: 80 }),
        fc.array(fc.boolean(), { minLength: 5, maxLength: 40 }),
        async (targetBps, content, keys) => {
          const { worstWindow } = await run({
            targetBps,
            frames: 150,
            content: (i) => content[i % content.length]!,
            isKey: (i) => i === 0 || keys[i % keys.length]!,
          })
          expect(worstWindow).toBeLessThanOrEqual(1.15 * targetBps + 1)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('meets the mean within 3 % where it can, over noise of 30 % and a scene that changes for good', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 220_000, max: 450_000 }),
        fc.array(fc.double({ min: 0.7, max: 1.3, noNaN: true }), { minLength: 31, maxLength: 31 }),
        fc.double({ min: 0.75, max: 1.5, noNaN: true }),
        async (targetBps, noise, jump) => {
          const { mean, skipped } = await run({
            targetBps,
            frames: 250,
            content: (i) => noise[i % noise.length]! * (i > 100 ? jump : 1),
            isKey: (i) => i % 100 === 0,
          })
          expect(Math.abs(mean / targetBps - 1)).toBeLessThan(0.03)
          expect(skipped).toBeLessThan(13)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('skips frames, and says so, where even the lowest rate is too much; uses what there is where nothing is', async () => {
    const starved = await run({ targetBps: 50_000, frames: 100, content: () => 1, isKey: (i) => i === 0 })
    expect(starved.skipped).toBeGreaterThan(20)
    expect(starved.mean).toBeLessThanOrEqual(1.15 * 50_000)
    const rich = await run({ targetBps: 5_000_000, frames: 50, content: () => 1, isKey: (i) => i === 0 })
    expect(rich.skipped).toBe(0)
    expect(rich.mean).toBeLessThan(1_000_000)
  })
})
