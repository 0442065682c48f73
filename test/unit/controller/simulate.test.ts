import { parseBandwidthTrace } from '@espalier/controller/sim/bandwidth-trace'
import { makeFleet } from '@espalier/controller/sim/fleet'
import { POLICIES } from '@espalier/controller/sim/policies'
import { simulateSeed } from '@espalier/controller/sim/simulate'
import { meanOf, summarise } from '@espalier/controller/sim/summarise'
import { makeWorld } from '@espalier/controller/sim/world'
import { describe, expect, test } from 'vitest'

const small = { devices: 30, hours: 0.75, policies: Object.keys(POLICIES) }

describe('simulateSeed()', () => {
  const result = simulateSeed(3, small)
  const of = (name: string) => result.policies.find(({ policy }) => policy === name)!

  test('says the same for the same seed and something else for another', () => {
    const two = { ...small, policies: ['ours'] }
    expect(simulateSeed(3, two).policies[0]).toEqual(of('ours'))
    expect(simulateSeed(4, two).policies[0]).not.toEqual(of('ours'))
  })

  test('keeps every measure of every policy in its range', () => {
    expect(result.policies.map(({ policy }) => policy)).toEqual(small.policies)
    for (const p of result.policies) {
      for (const share of [p.siteViolations, p.avoidableViolations, p.powerViolations, p.late]) {
        expect(share).toBeGreaterThanOrEqual(0)
        expect(share).toBeLessThanOrEqual(1)
      }
      expect(p.utilityPct).toBeGreaterThan(20)
      expect(p.utilityPctByTenth).toHaveLength(10)
    }
  })

  test('keeps the fleet within power and uplink, and above those who share equally', () => {
    expect(of('ours').powerViolations).toBe(0)
    expect(of('ours').avoidableViolations).toBeLessThan(0.02)
    expect(of('ours').utilityPct).toBeGreaterThan(of('equal-share').utilityPct)
    expect(of('ours').utilityPct).toBeLessThan(of('clairvoyant').utilityPct)
  })

  test('takes uplinks from traces', () => {
    const trace = parseBandwidthTrace('steps', '0 1\n60 3\n120 2\n')
    const fleet = makeFleet({ devices: 10, seed: 1 })
    const world = makeWorld(fleet, { epochs: 18, seed: 1, bandwidth: [trace] })
    expect(world.capacityBps(6, 0) / world.capacityBps(0, 0)).toBeCloseTo(3)
  })
})

describe('summarise()', () => {
  test('gives the interval of Student for a few seeds', () => {
    const { mean, halfWidth } = meanOf([1, 2, 3])
    expect(mean).toBe(2)
    expect(halfWidth).toBeCloseTo(4.3027 * Math.sqrt(1 / 3), 4)
    expect(meanOf([5])).toEqual({ mean: 5, halfWidth: undefined })
  })

  test('averages policies over seeds in their order', () => {
    const one = { ...small, devices: 10, hours: 0.2, policies: ['equal-share', 'lyapunov'] }
    const seeds = [1, 2].map((seed) => simulateSeed(seed, one))
    const summary = summarise(seeds)
    expect(summary.map(({ policy }) => policy)).toEqual(one.policies)
    expect(summary[0]!.powerW.mean).toBeCloseTo((seeds[0]!.policies[0]!.powerW + seeds[1]!.policies[0]!.powerW) / 2)
  })
})
