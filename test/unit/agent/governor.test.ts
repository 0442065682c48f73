import { brake, configurationAt, initialState, positionsOf, type Situation } from '@espalier/agent/governor/brake'
import { Governor, type RateModel } from '@espalier/agent/governor/governor'
import { expectedRateBps } from '@espalier/agent/governor/rate-model'
import type { Configuration } from '@espalier/shared/configuration'
import type { Rung } from '@espalier/shared/messages/controller'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeConfiguration } from '../make-configuration.ts'

const card = [
  { alpha255: 0, bitsPerPixel: 1.29, psnrDb: 34.3 },
  { alpha255: 128, bitsPerPixel: 0.85, psnrDb: 32.7 },
  { alpha255: 255, bitsPerPixel: 0.48, psnrDb: 29.9 },
]

const FRAME_RATE = 5

function configurationOf(alpha255: number, scale = 1): Configuration {
  return makeConfiguration({ alpha255, width: 512 * scale, height: 288 * scale, frameRate: FRAME_RATE })
}

function rungOf(configuration: Configuration, powerW = 1): Rung {
  return { configuration, rateBps: expectedRateBps(configuration, [], card), powerW, utility: 1 }
}

const ladderOf = (alpha255: number): Rung[] => [
  rungOf(configurationOf(alpha255), 2),
  rungOf(configurationOf(64, 0.5), 1),
]

const anyLadder = fc.integer({ min: 0, max: 255 }).map(ladderOf)
/** From hopeless to plenty for these ladders. */
const anyLease = fc.integer({ min: 10_000, max: 2_000_000 })
const anyFactor = fc.double({ min: 0.3, max: 3, noNaN: true })

const expectedBpsOf = (ladder: readonly Rung[]) => (configuration: Configuration) =>
  expectedRateBps(configuration, ladder, card)

const rateModel: RateModel = {
  expectedBits: (configuration) => expectedRateBps(configuration, [], card) / FRAME_RATE,
  expectedBpsOn: expectedBpsOf,
  sentBits: (bits) => bits,
  maxAlpha255: 255,
}

function situationOf(ladder: readonly Rung[], leaseBps: number | undefined, factor = 1): Situation {
  const planned = ladder[0]!.configuration
  const expectedBps = expectedBpsOf(ladder)
  // One frame just now: enough to show the content's factor, too little to use up the window.
  const bits = (factor * expectedBps(planned)) / FRAME_RATE
  return {
    nowMs: 100_000,
    ladder,
    leaseBps,
    sent: [{ atMs: 99_900, bits, configuration: planned }],
    outcomes: [],
    expectedBps,
  }
}

const settle = (situation: Situation) => brake(initialState(situation.ladder, 0), situation, { isNewPlan: true })

describe('brake()', () => {
  test('runs the plan when there is no limit', () => {
    fc.assert(
      fc.property(anyLadder, anyFactor, (ladder, factor) => {
        expect(settle(situationOf(ladder, undefined, factor))).toMatchObject({
          rung: 0,
          alpha255: ladder[0]!.configuration.alpha255,
        })
      }),
    )
  })

  test('never leaves the ladder, and never goes below the planned alpha of a rung', () => {
    fc.assert(
      fc.property(anyLadder, anyLease, anyFactor, (ladder, lease, factor) => {
        const { rung, alpha255 } = settle(situationOf(ladder, lease, factor))
        expect(ladder[rung]).toBeDefined()
        expect(alpha255).toBeGreaterThanOrEqual(ladder[rung]!.configuration.alpha255)
        expect(alpha255).toBeLessThanOrEqual(255)
      }),
    )
  })

  test('keeps the predicted rate within 97 % of the lease, or takes the least there is', () => {
    fc.assert(
      fc.property(anyLadder, anyLease, anyFactor, (ladder, lease, factor) => {
        const situation = situationOf(ladder, lease, factor)
        const predicted = (configuration: Configuration): number => factor * situation.expectedBps(configuration)
        const chosen = predicted(configurationAt(ladder, settle(situation)))
        const least = Math.min(...positionsOf(ladder).map((place) => predicted(configurationAt(ladder, place))))
        expect(chosen <= 0.97 * lease * (1 + 1e-9) || chosen <= least * (1 + 1e-9)).toBe(true)
      }),
    )
  })

  test('trims alpha before it leaves the planned rung, and no more than one step too far', () => {
    const ladder = ladderOf(0)
    const planned = ladder[0]!.rateBps
    const { rung, alpha255 } = settle(situationOf(ladder, planned * 0.8))
    const before = expectedBpsOf(ladder)(configurationOf(alpha255 - 4))

    expect(rung).toBe(0)
    expect(alpha255).toBeGreaterThan(0)
    expect(before).toBeGreaterThan(planned * 0.8 * 0.97)
    expect(settle(situationOf(ladder, planned * 0.3)).rung).toBe(1)
  })

  test('does not choose a higher rate for a smaller lease', () => {
    fc.assert(
      fc.property(anyLadder, anyLease, fc.double({ min: 0.1, max: 1, noNaN: true }), (ladder, lease, share) => {
        // Preference is by rung, so compare where both stay on one.
        const [wide, tight] = [lease, lease * share].map((limit) => settle(situationOf(ladder, limit)))
        if (wide!.rung === tight!.rung) expect(tight!.alpha255).toBeGreaterThanOrEqual(wide!.alpha255)
        else expect(tight!.rung).toBeGreaterThan(wide!.rung)
      }),
    )
  })

  test('comes back to a rung above with no more bits than now, and trims less from there', () => {
    const ladder = [rungOf(configurationOf(0), 2), rungOf({ ...configurationOf(64), variant: 'light' }, 1)]
    const situation = situationOf(ladder, 2 * ladder[0]!.rateBps)
    const below = { rung: 1, alpha255: 64, changedMs: 0, floor: { rung: 0, sinceMs: 0, holdMs: 30_000 } }
    const back = brake(below, situation)
    expect(back).toMatchObject({ rung: 0, alpha255: 64 })
    const later = brake(back, { ...situation, nowMs: situation.nowMs + 2000 })
    expect(later.rung).toBe(0)
    expect(later.alpha255).toBeLessThan(64)
  })

  test('falls to a lighter rung when most frames are missed, and returns only after a hold', () => {
    const ladder = ladderOf(0)
    const outcomes = Array.from({ length: 20 }, (_, i) => ({ atMs: 98_000 + i * 100, isMissed: i % 4 !== 0 }))
    const situation = { ...situationOf(ladder, undefined), outcomes }
    const fallen = brake(initialState(ladder, 0), situation)
    const good = (nowMs: number): Situation => ({
      ...situation,
      nowMs,
      outcomes: Array.from({ length: 20 }, (_, i) => ({ atMs: nowMs - i * 100, isMissed: false })),
    })
    const soon = brake(fallen, good(110_000))
    const late = brake(soon, good(140_000))

    expect([fallen.rung, soon.rung, late.rung]).toEqual([1, 1, 0])
  })
})

/** Play a scene: what each frame takes is the expected size times a factor of the moment. */
function play(options: { ladder: Rung[]; leaseBps: number; seconds: number; factorAt: (second: number) => number }) {
  const { ladder, leaseBps, seconds, factorAt } = options
  const expectedBps = expectedBpsOf(ladder)
  const governor = new Governor({ ladder, leaseBps }, 0, rateModel)
  const frames: Array<{ atMs: number; bits: number; configuration: Configuration }> = []
  for (let atMs = 0; atMs < seconds * 1000; atMs += 1000 / FRAME_RATE) {
    const configuration = governor.decide(atMs)
    const frame = { atMs, configuration, bits: (factorAt(atMs / 1000) * expectedBps(configuration)) / FRAME_RATE }
    governor.recordSent(frame)
    governor.recordOutcome({ atMs, isMissed: false })
    frames.push(frame)
  }
  const averageAt = (ms: number): number =>
    frames.filter(({ atMs }) => atMs > ms - 10_000 && atMs <= ms).reduce((sum, { bits }) => sum + bits, 0) / 10
  return { governor, frames, averages: frames.filter(({ atMs }) => atMs >= 10_000).map(({ atMs }) => averageAt(atMs)) }
}

describe('Governor', () => {
  test('keeps every 10 s average within the lease when the scene changes as much as the ladder can follow', () => {
    const ladder = ladderOf(0)
    const planned = ladder[0]!.rateBps
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.6, max: 1.6, noNaN: true }), { minLength: 8, maxLength: 8 }),
        fc.double({ min: 0.55, max: 1.2, noNaN: true }),
        (scenes, share) => {
          const leaseBps = planned * share
          const { averages } = play({ ladder, leaseBps, seconds: 64, factorAt: (s) => scenes[Math.floor(s / 8)]! })
          for (const average of averages) expect(average).toBeLessThanOrEqual(leaseBps)
        },
      ),
      { numRuns: 20 },
    )
  })

  test('comes back to the plan slowly once there is room', () => {
    const ladder = ladderOf(0)
    const leaseBps = ladder[0]!.rateBps * 1.2
    const { frames } = play({ ladder, leaseBps, seconds: 240, factorAt: (s) => (s < 20 ? 1.5 : 0.8) })
    const alphas = frames.map(({ configuration }) => configuration.alpha255)
    const steps = alphas.slice(1).map((alpha, i) => alphas[i]! - alpha)

    expect(Math.max(...alphas.slice(0, 100))).toBeGreaterThan(0)
    expect(alphas.at(-1)).toBe(0)
    // At most half the way at a time: each step waits for what the last one did.
    expect(Math.max(...steps)).toBeLessThanOrEqual(Math.max(8, Math.max(...alphas) / 2 + 4))
  })

  test('measures what was sent before a change of rung by the same figures after it', () => {
    const figures = ladderOf(0).map((each, i) => ({ ...each, rateBps: each.rateBps * (i === 0 ? 1.2 : 1) }))
    const plan = { ladder: figures, figures, leaseBps: undefined }
    const governor = new Governor(plan, 0, rateModel)
    const { configuration, rateBps } = figures[0]!
    for (let atMs = 200; atMs <= 4000; atMs += 200)
      governor.recordSent({ atMs, bits: rateBps / FRAME_RATE, configuration })
    expect(governor.factors(4000).rate).toBeCloseTo(1, 9)
    governor.follow({ ...plan, ladder: figures.slice(1) }, 4000)
    expect(governor.factors(4000).rate).toBeCloseTo(1, 9)
  })

  test('says that it brakes, and stops saying so with a plan that fits', () => {
    const ladder = ladderOf(0)
    const { governor } = play({ ladder, leaseBps: ladder[0]!.rateBps * 0.7, seconds: 20, factorAt: () => 1 })
    expect(governor.isBraking).toBe(true)
    governor.follow({ ladder: [rungOf(configurationOf(200))], leaseBps: undefined }, 20_000)
    expect(governor.isBraking).toBe(false)
  })
})

describe('expectedRateBps()', () => {
  test('gives the figures of the ladder at its rungs, and the shape of the card beyond them', () => {
    const [a, b] = [configurationOf(0), configurationOf(128)]
    const ladder = [
      { ...rungOf(a), rateBps: 1000 },
      { ...rungOf(b), rateBps: 500 },
    ]
    expect(expectedRateBps(a, ladder, card)).toBe(1000)
    expect(expectedRateBps(b, ladder, card)).toBe(500)
    expect(expectedRateBps(configurationOf(255), ladder, card)).toBeCloseTo((500 * 0.48) / 0.85, 6)
  })

  test('falls with alpha', () => {
    fc.assert(
      fc.property(anyLadder, fc.integer({ min: 0, max: 254 }), (ladder, alpha255) => {
        const rate = (alpha: number): number => expectedRateBps(configurationOf(alpha), ladder, card)
        expect(rate(alpha255 + 1)).toBeLessThan(rate(alpha255))
      }),
    )
  })
})
