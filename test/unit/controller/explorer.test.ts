import { type Believed, chooseProbe, type ProbeCandidate } from '@espalier/controller/estimate/choose-probe'
import { priorEstimate } from '@espalier/controller/estimate/slot-estimate'
import type { SlotInput } from '@espalier/controller/plan/option'
import { type Plan, planFleet } from '@espalier/controller/plan/plan-fleet'
import { Explorer } from '@espalier/controller/planner/explorer'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeBirth, manifest } from './controller-fixtures.ts'

const believed = fc.record({
  id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
  rateBps: fc.nat(1_000_000),
  rateSigmaBps: fc.nat(100_000),
  powerMw: fc.nat(20_000),
  powerSigmaMw: fc.nat(2000),
  merit: fc.double({ min: 0, max: 2, noNaN: true }),
})
const candidate: fc.Arbitrary<ProbeCandidate> = fc
  .tuple(believed, fc.double({ min: 0, max: 0.01, noNaN: true }), fc.double({ min: 1e-4, max: 0.1, noNaN: true }))
  .map(([b, untriedVariance, noise]) => ({ ...b, untriedVariance, noise }))

describe('chooseProbe()', () => {
  test('never leaves the lease, loses more than it may, or tries what is known', () => {
    const limits = fc.record({
      rateBps: fc.nat(1_000_000),
      powerW: fc.double({ min: 0, max: 20, noNaN: true }),
      sigmas: fc.double({ min: 1, max: 6, noNaN: true }),
      mostLoss: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    fc.assert(
      fc.property(believed, fc.array(candidate, { maxLength: 8 }), limits, (chosen: Believed, all, limit) => {
        const probe = chooseProbe(chosen, all, limit)
        if (probe === undefined) return
        const fitting = all.filter(
          (c) =>
            c.id === probe.id &&
            c.untriedVariance === probe.untriedVariance &&
            c.rateBps + limit.sigmas * c.rateSigmaBps <= limit.rateBps &&
            c.powerMw + limit.sigmas * c.powerSigmaMw <= limit.powerW * 1000,
        )
        expect(fitting.length).toBeGreaterThan(0)
        expect(probe.loss).toBeLessThanOrEqual(limit.mostLoss)
        expect(probe.untriedVariance).toBeGreaterThan(0.03 ** 2)
      }),
    )
  })

  test('does not depend on the order of the candidates', () => {
    fc.assert(
      fc.property(fc.uniqueArray(candidate, { selector: ({ id }) => id, maxLength: 6 }), believed, (all, chosen) => {
        const limits = { sigmas: 2, mostLoss: 1 }
        expect(chooseProbe(chosen, all.toReversed(), limits)).toEqual(chooseProbe(chosen, all, limits))
      }),
    )
  })
})

describe('Explorer', () => {
  const HOUR_MS = 3_600_000
  const learned = {
    ...priorEstimate,
    latency: { ...priorEstimate.latency, common: { ...priorEstimate.latency.common, variance: 1e-3, noise: 1e-3 } },
    bits: { ...priorEstimate.bits, common: { ...priorEstimate.bits.common, variance: 1e-3, noise: 1e-3 } },
    energy: { ...priorEstimate.energy, common: { ...priorEstimate.energy.common, variance: 1e-3, noise: 1e-3 } },
    basePower: { meanW: 2, varianceW2: 0.01, readings: 50 },
  }
  const inputs = (): SlotInput[] =>
    ['cam-1', 'cam-2'].map((device) => ({
      key: `${device}/cam0`,
      site: 'local',
      birth: makeBirth().slots[0]!,
      manifest: manifest as CodecManifest,
      estimate: learned,
      planned: undefined,
    }))
  const sites = new Map([['local', { total: 100_000, reserved: 0, marginShare: 0.05 }]])
  const plan = planFleet({ slots: inputs(), sites, power: undefined })
  const probing = (p: Plan) => p.slots.filter(({ why }) => why.probe !== undefined)

  /** Plans every minute for some hours. */
  function explore(hours: number) {
    const explorer = new Explorer()
    const found: { atMs: number; slots: Plan['slots'] }[] = []
    for (let atMs = 0; atMs <= hours * HOUR_MS; atMs += 15_000) {
      const slots = probing(explorer.apply(plan, atMs))
      if (slots.length > 0) found.push({ atMs, slots })
    }
    return { explorer, found }
  }

  test('tries nothing before it was paid for, and then one slot at a time within its lease', () => {
    const { explorer, found } = explore(6)
    expect(explorer.count).toBeGreaterThan(0)
    expect(found[0]!.atMs).toBeGreaterThan(HOUR_MS / 4)
    for (const { slots } of found) {
      expect(slots).toHaveLength(1)
      const [slot] = slots
      expect(slot!.chosen.rateBps).toBeLessThanOrEqual(slot!.lease.rateBps!)
      expect(slot!.ladder[0]!.configuration).toEqual(slot!.chosen.configuration)
      expect(slot!.why.probe).toContain('to learn what it costs here')
      expect(slot!.why.runnerUp).not.toBe(slot!.why.chosen)
    }
  })

  test('costs at most a thousandth of the utility, and a device at most one an hour', () => {
    const hours = 24
    const { explorer, found } = explore(hours)
    expect(explorer.count).toBeLessThanOrEqual(2 * (hours + 1))
    // A plan each 15 s; each probe also loads a graph, about three seconds of the slot's utility.
    const lost = found.reduce((sum, { slots: [s] }) => {
      const before = plan.slots.find(({ input }) => input.key === s!.input.key)!
      return sum + 15 * Math.max(0, before.chosen.merit - s!.chosen.merit)
    }, 0)
    expect(lost).toBeLessThanOrEqual(0.001 * plan.value * hours * 3600)
  })

  test('gives the plan back when it ends', () => {
    const { found } = explore(3)
    const explorer = new Explorer()
    expect(explorer.apply(plan, 0)).toBe(plan)
    expect(found.length).toBeLessThan((3 * HOUR_MS) / 15_000 / 10)
  })
})
