import {
  type AdapterCosts,
  bakeAfterFrames,
  chooseAdapterWay,
  frameCostMs,
} from '@espalier/shared/runtime/adapter-costs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const native: AdapterCosts = { inputsMs: 10, bakedMs: 8, liveMs: 12, mergeMs: 1, bakeMs: 20 }
const costs = fc.record({
  inputsMs: fc.double({ min: 0.1, max: 500, noNaN: true }),
  bakedMs: fc.double({ min: 0.1, max: 500, noNaN: true }),
  liveMs: fc.option(fc.double({ min: 0.1, max: 500, noNaN: true }), { nil: undefined }),
  mergeMs: fc.double({ min: 0, max: 50, noNaN: true }),
  bakeMs: fc.double({ min: 0, max: 500, noNaN: true }),
})

describe('chooseAdapterWay()', () => {
  test('feeds weights while alpha changes often and bakes them once it stays', () => {
    expect(chooseAdapterWay(native, 1)).toBe('inputs')
    expect(chooseAdapterWay(native, 9)).toBe('inputs')
    expect(chooseAdapterWay(native, 11)).toBe('baked')
  })

  test('keeps the adapter live where merging costs more than it saves', () => {
    expect(chooseAdapterWay({ ...native, mergeMs: 40 }, 1)).toBe('live')
    expect(chooseAdapterWay({ ...native, mergeMs: 40, liveMs: undefined }, 1)).toBe('inputs')
  })

  test('feeds weights for ever where constants gain nothing', () => {
    for (const dwell of [1, 100, 1e6]) expect(chooseAdapterWay({ ...native, bakedMs: 10 }, dwell)).toBe('inputs')
  })

  test('is never beaten by another way', () => {
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 10_000 }), (some, dwell) => {
        const chosen = frameCostMs(chooseAdapterWay(some, dwell), some, dwell)
        for (const way of ['inputs', 'baked', 'live'] as const)
          expect(chosen).toBeLessThanOrEqual(frameCostMs(way, some, dwell))
      }),
    )
  })
})

describe('bakeAfterFrames()', () => {
  test('is when feeding has cost as much more as baking would have', () => {
    expect(bakeAfterFrames(native)).toBe(10)
  })

  test('is never where the gain may be noise', () => {
    expect(bakeAfterFrames({ ...native, bakedMs: 9.6 })).toBe(Number.POSITIVE_INFINITY)
    expect(bakeAfterFrames({ ...native, bakedMs: 11 })).toBe(Number.POSITIVE_INFINITY)
  })

  test('never costs more than twice what knowing the future would, whenever alpha changes', () => {
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 10_000 }), (some, dwell) => {
        const after = bakeAfterFrames(some)
        fc.pre(Number.isFinite(after))
        const extraMs = (fed: number, isBaked: boolean): number =>
          fed * (some.inputsMs - some.bakedMs) + (isBaked ? some.bakeMs : 0)
        const spent = extraMs(Math.min(after, dwell), dwell > after)
        const best = Math.min(extraMs(dwell, false), extraMs(0, true))
        // One frame more or less: frames are whole.
        expect(spent).toBeLessThanOrEqual(2 * best + some.inputsMs)
      }),
    )
  })
})
