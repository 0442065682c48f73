import { predictCauses } from '@espalier/controller/estimate/causes'
import { startFilter, updateFilter } from '@espalier/controller/estimate/filter'
import {
  keysOf,
  priorEstimate,
  type SlotEstimate,
  type TelemetryWindow,
  updateEstimate,
} from '@espalier/controller/estimate/slot-estimate'
import type { Nominal } from '@espalier/controller/plan/predict'
import { configurationId } from '@espalier/shared/configuration'
import { describe, expect, test } from 'vitest'
import { configuration } from './controller-fixtures.ts'

const nominal: Nominal = { bitsPerFrame: 1000, latencyS: 0.02, joulesPerFrame: 0.1, psnrDb: 34 }
const window = (changes: Partial<TelemetryWindow>): TelemetryWindow => ({
  configuration: configurationId(configuration),
  seconds: 1,
  frames: 5,
  bits: 5000,
  dynamicJoules: 0.5,
  baseJoules: 2,
  isModelled: false,
  latencyP50S: 0.02,
  psnrDb: 34,
  ...changes,
})
const feed = (estimate: SlotEstimate, w: TelemetryWindow, times: number): SlotEstimate =>
  Array.from({ length: times }).reduce<SlotEstimate>((e) => updateEstimate(e, w, nominal), estimate)

describe('updateEstimate()', () => {
  test('finds the factors of a device that differs from its card', () => {
    const learned = feed(priorEstimate, window({ bits: 9000, dynamicJoules: 1.5, latencyP50S: 0.03, psnrDb: 32.5 }), 12)
    const { bits, energy, latency } = predictCauses(learned, keysOf(configuration))
    expect(Math.exp(bits.mean)).toBeCloseTo(1.8, 1)
    expect(Math.exp(energy.mean)).toBeCloseTo(3, 0)
    expect(Math.exp(latency.mean)).toBeCloseTo(1.5, 1)
    expect(learned.quality.mean).toBeCloseTo(-1.5, 0)
    expect(learned.basePower.meanW).toBeCloseTo(2)
    expect(learned.bits.common.variance).toBeLessThan(priorEstimate.bits.common.variance / 10)
  })

  test('ignores one spike and follows a change on its second reading', () => {
    const steady = feed(priorEstimate, window({}), 20)
    const spiked = updateEstimate(steady, window({ bits: 50_000 }), nominal)
    expect(spiked.bits.common.mean).toBe(steady.bits.common.mean)
    const changed = updateEstimate(spiked, window({ bits: 50_000 }), nominal)
    expect(Math.exp(changed.bits.common.mean)).toBeGreaterThan(8)
  })

  test('learns only the base power from a window without frames', () => {
    const learned = updateEstimate(priorEstimate, window({ frames: 0, bits: 0, baseJoules: 7 }), nominal)
    expect(learned).toEqual({ ...priorEstimate, basePower: { ...learned.basePower, meanW: 7 } })
  })

  test('never takes in what is not a number', () => {
    const filter = startFilter({ mean: 1, variance: 1, noise: 1 })
    for (const reading of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      expect(updateFilter(filter, reading)).toBe(filter)
    const learned = updateEstimate(priorEstimate, window({ bits: Number.NaN, dynamicJoules: -1 }), nominal)
    expect(learned.bits).toBe(priorEstimate.bits)
    expect(learned.energy).toBe(priorEstimate.energy)
  })
})
