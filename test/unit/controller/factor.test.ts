import { adaptK } from '@espalier/controller/estimate/adapt-k'
import { learnCauses, startCauses } from '@espalier/controller/estimate/causes'
import { poolClass } from '@espalier/controller/estimate/class-prior'
import { predictFactor, startFactor, updateFactor } from '@espalier/controller/estimate/factor'
import { learnLatencyK, START_LATENCY_K } from '@espalier/controller/estimate/latency-bound'
import { marginShare, startRowMargin, updateRowMargin } from '@espalier/controller/estimate/row-margin'
import { seededRandom } from '@espalier/controller/sim/random'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const prior = startFactor({ mean: 0, variance: 0.04, noise: 0.001 })
const times = <T>(n: number, start: T, step: (value: T) => T): T =>
  Array.from({ length: n }).reduce<T>((value) => step(value), start)

describe('updateFactor()', () => {
  test('tells every configuration of a slowdown, and stays less sure of those that never ran', () => {
    const learned = times(30, prior, (f) => updateFactor(f, 'a', Math.log(1.4)))
    expect(Math.exp(predictFactor(learned, 'a').mean)).toBeCloseTo(1.4, 1)
    expect(Math.exp(predictFactor(learned, 'b').mean)).toBeCloseTo(1.4, 0)
    expect(predictFactor(learned, 'b').variance).toBeGreaterThan(2 * predictFactor(learned, 'a').variance)
  })

  test('learns what is particular to a configuration', () => {
    let factor = times(20, prior, (f) => updateFactor(f, 'a', 0))
    for (let i = 0; i < 40; i++) factor = updateFactor(updateFactor(factor, 'b', 0.1), 'a', 0)
    expect(predictFactor(factor, 'b').mean - predictFactor(factor, 'a').mean).toBeCloseTo(0.1, 1)
  })

  test('sets one spike aside in factor and residual', () => {
    const steady = times(20, prior, (f) => updateFactor(f, 'a', 0))
    const spiked = updateFactor(steady, 'a', 2)
    expect(predictFactor(spiked, 'a').mean).toBe(predictFactor(steady, 'a').mean)
    expect(updateFactor(spiked, 'a', 2).common.mean).toBeGreaterThan(1)
  })
})

describe('adaptK()', () => {
  test('makes the wanted share violate in the long run, whatever the distribution', () => {
    let [k, violations] = [1, 0]
    for (let t = 0; t < 20_000; t++) {
      // Heavy tailed and deterministic: the reciprocal of an even spread.
      const score = 1 / (((t * 0.618034) % 1) + 1e-3)
      const isViolated = score > k
      if (isViolated) violations++
      k = adaptK(k, isViolated ? 1 : 0, { target: 0.05, step: 0.5, least: 0, most: 1000 })
    }
    expect(violations / 20_000).toBeCloseTo(0.05, 2)
  })
})

const quiet = { miss: 0.001, isViolated: false, predicted: 0 }

describe('updateRowMargin()', () => {
  test('shrinks while plans hold, grows with misses and never leaves its bounds', () => {
    const calm = times(300, startRowMargin, (m) => updateRowMargin(m, quiet))
    expect(marginShare(calm)).toBeLessThan(marginShare(startRowMargin) / 3)
    const rough = times(300, calm, (m) => updateRowMargin(m, { miss: 0.2, isViolated: true, predicted: 0 }))
    expect(marginShare(rough)).toBe(0.3)
    expect(updateRowMargin(calm, { ...quiet, miss: Number.NaN })).toBe(calm)
  })

  test('does not let what was used below plan widen it', () => {
    const below = times(100, startRowMargin, (m) => updateRowMargin(m, { ...quiet, miss: -0.3 }))
    expect(marginShare(below)).toBeLessThan(marginShare(startRowMargin))
  })

  test('is wider when the estimates of the plan are unsure, before anything was missed', () => {
    const sure = updateRowMargin(startRowMargin, quiet)
    const unsure = updateRowMargin(startRowMargin, { ...quiet, predicted: 0.03 ** 2 })
    expect(marginShare(unsure)).toBeGreaterThan(marginShare(sure))
  })

  test('stays finite and within its bounds whatever is measured', () => {
    const anything = fc.record({ miss: fc.double(), isViolated: fc.boolean(), predicted: fc.double({ min: 0 }) })
    fc.assert(
      fc.property(fc.array(anything, { maxLength: 50 }), (found) => {
        const share = marginShare(found.reduce(updateRowMargin, startRowMargin))
        expect(share).toBeGreaterThanOrEqual(0.005)
        expect(share).toBeLessThanOrEqual(0.3)
      }),
    )
  })
})

describe('learnLatencyK()', () => {
  test('makes one reading in a hundred miss its bound, whatever the noise', () => {
    fc.assert(
      fc.property(fc.integer(), fc.double({ min: 0.005, max: 0.2, noNaN: true }), (seed, sigma) => {
        const random = seededRandom(seed)
        let [factor, k, missed] = [prior, START_LATENCY_K, 0]
        for (let t = 0; t < 6000; t++) {
          const reading = sigma * random.normal()
          const { mean, variance } = predictFactor(factor, 'a')
          const after = updateFactor(factor, 'a', reading)
          if (t >= 1000 && reading > mean + k * Math.sqrt(variance + factor.common.noise)) missed++
          k = learnLatencyK(k, { before: factor, after }, 'a', reading)
          factor = after
        }
        expect(missed / 5000).toBeLessThan(0.02)
      }),
      { numRuns: 20 },
    )
  })

  test('learns nothing from a reading that the gate set aside', () => {
    const before = times(50, prior, (f) => updateFactor(f, 'a', 0))
    expect(learnLatencyK(2, { before, after: updateFactor(before, 'a', 3) }, 'a', 3)).toBe(2)
  })
})

describe('poolClass()', () => {
  const start = startCauses({
    bits: { mean: 0, variance: 0.06, noise: 0.01 },
    latency: { mean: 0, variance: 0.09, noise: 0.01 },
    energy: { mean: 0, variance: 0.16, noise: 0.02 },
    quality: { mean: 0, variance: 4, noise: 1 },
  })
  const keys = { work: 'w', stream: 's' }
  const device = (latency: number, times_ = 40) =>
    times(times_, start, (c) => learnCauses(c, { latency, bits: 1, energy: 1, qualityDb: 0 }, keys))

  test('starts a new device where its class is, and surer than without', () => {
    const { start: first, members } = poolClass(
      [1.45, 1.5, 1.55, 1.5, 1.48, 1.52].map((l) => device(l)),
      start,
    )
    expect(members).toBe(6)
    expect(Math.exp(first.latency.common.mean)).toBeGreaterThan(1.3)
    expect(first.latency.common.variance).toBeLessThan(start.latency.common.variance)
    expect(first.latency.common.readings).toBe(0)
  })

  test('is honest about classes whose devices differ', () => {
    const alike = poolClass(
      [1.5, 1.5, 1.5, 1.5].map((l) => device(l)),
      start,
    )
    const unlike = poolClass(
      [0.7, 1, 1.6, 2.5].map((l) => device(l)),
      start,
    )
    expect(unlike.start.latency.common.variance).toBeGreaterThan(2 * alike.start.latency.common.variance)
  })

  test('is the prior before anything was heard, and does not listen to a device that hardly spoke', () => {
    expect(poolClass([device(5, 3)], start).start.latency.common.mean).toBeCloseTo(0)
    expect(poolClass([], start).residuals.latency).toEqual({})
  })

  test('does not depend on the order in which devices were heard of', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.3, max: 3, noNaN: true }), { minLength: 1, maxLength: 6 }), (factors) => {
        const members = factors.map((f) => device(f, 12))
        const [one, other] = [poolClass(members, start), poolClass(members.toReversed(), start)]
        expect(other.start.latency.common.mean).toBeCloseTo(one.start.latency.common.mean, 9)
        expect(other.start.latency.common.variance).toBeCloseTo(one.start.latency.common.variance, 9)
      }),
    )
  })
})
