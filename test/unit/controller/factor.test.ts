import { adaptK } from '@espalier/controller/estimate/adapt-k'
import { predictFactor, startFactor, updateFactor } from '@espalier/controller/estimate/factor'
import { marginShare, startRowMargin, updateRowMargin } from '@espalier/controller/estimate/row-margin'
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

describe('updateRowMargin()', () => {
  test('shrinks while plans hold, grows with misses and never leaves its bounds', () => {
    const calm = times(300, startRowMargin, (m) => updateRowMargin(m, { miss: 0.001, isViolated: false }))
    expect(marginShare(calm)).toBeLessThan(marginShare(startRowMargin))
    const rough = times(300, calm, (m) => updateRowMargin(m, { miss: 0.2, isViolated: true }))
    expect(marginShare(rough)).toBe(0.3)
    expect(updateRowMargin(calm, { miss: Number.NaN, isViolated: false })).toBe(calm)
  })

  test('does not let what was used below plan widen it', () => {
    const below = times(100, startRowMargin, (m) => updateRowMargin(m, { miss: -0.3, isViolated: false }))
    expect(marginShare(below)).toBeLessThan(marginShare(startRowMargin))
  })
})
