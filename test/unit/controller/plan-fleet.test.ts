import { priorEstimate } from '@espalier/controller/estimate/slot-estimate'
import type { SlotInput } from '@espalier/controller/plan/option'
import { type Limit, type PlanInput, planFleet } from '@espalier/controller/plan/plan-fleet'
import { deviceIdSchema } from '@espalier/shared/ids'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeBirth, manifest } from './controller-fixtures.ts'

const slot = (i: number, site = 'local', changes: Partial<SlotInput['birth']> = {}): SlotInput => ({
  key: `cam-${i}/cam0`,
  site,
  birth: makeBirth(deviceIdSchema.parse(`cam-${i}`), changes).slots[0]!,
  manifest,
  estimate: priorEstimate,
  planned: undefined,
})
const limit = (total: number, reserved = 0): Limit => ({ total, reserved, marginShare: 0.08 })
const free: Pick<PlanInput, 'sites' | 'power'> = { sites: new Map(), power: undefined }

describe('planFleet()', () => {
  test('gives every slot its best configuration where nothing is limited', () => {
    const plan = planFleet({ slots: [slot(1)], ...free })
    expect(plan.slots[0]!.chosen.configuration).toMatchObject({ alpha255: 0, width: 256, frameRate: 5 })
    expect(plan.slots[0]!.why.binding).toBe('none')
    expect(plan.slots[0]!.lease).toEqual({})
    expect(plan.gap).toBeLessThan(1e-9)
  })

  test('names the uplink when it is what binds, and what more of it would be worth', () => {
    const ample = planFleet({ slots: [slot(1)], ...free }).slots[0]!.chosen.rateBps
    const plan = planFleet({
      slots: [slot(1)],
      sites: new Map([['local', limit(Math.floor(ample / 3))]]),
      power: undefined,
    })
    const { why, chosen, lease } = plan.slots[0]!
    expect(why.binding).toBe('uplink site:local')
    expect(why.lambda).toBeGreaterThan(0)
    expect(why.price).toContain('1 kbit/s more on site:local')
    expect(why.runnerUp).not.toBe(why.chosen)
    expect(chosen.rateBps).toBeLessThan(ample / 3)
    expect(lease.rateBps).toBeLessThanOrEqual(0.97 * Math.floor(ample / 3))
  })

  test('names the power when it is what binds, idle power included', () => {
    const best = planFleet({ slots: [slot(1)], ...free }).slots[0]!.chosen
    const baseMw = priorEstimate.basePower.meanW * 1000
    // Two deviations of an unknown idle power are as much as all it draws: a learned estimate is surer.
    const estimate = { ...priorEstimate, basePower: { meanW: 2, varianceW2: 0, readings: 9 } }
    const total = Math.ceil(baseMw + 0.6 * (best.powerMw - baseMw))
    const plan = planFleet({ slots: [{ ...slot(1), estimate }], sites: new Map(), power: limit(total) })
    expect(plan.slots[0]!.why.binding).toBe('power fleet')
    expect(plan.power!.planned).toBeGreaterThan(baseMw)
    expect(plan.power!.planned + plan.power!.margin).toBeLessThanOrEqual(total)
    expect(plan.slots[0]!.lease.powerW! * 1000).toBeLessThanOrEqual(total)
  })

  test('names the deadline on a device that is too slow for its source', () => {
    const plan = planFleet({ slots: [slot(1, 'local', { macsPerSecond: 3e9 })], ...free })
    expect(plan.slots[0]!.why.binding).toBe('deadline')
    const { latencyS } = plan.slots[0]!.chosen.prediction
    expect(latencyS).toBeLessThan(0.97 / plan.slots[0]!.chosen.configuration.frameRate)
  })

  test('never plans below the floor, and raises an alarm where floor and deadline exclude each other', () => {
    const tight = new Map([['local', limit(1000)]])
    const floored = planFleet({ slots: [slot(1, 'local', { minPsnrDb: 34 })], sites: tight, power: undefined })
    expect(floored.slots[0]!.chosen.prediction.psnrDb).toBeGreaterThanOrEqual(34)
    expect(floored.alarms).toMatchObject([{ kind: 'site-infeasible', subject: 'site:local' }])
    const forced = planFleet({ slots: [slot(1, 'local', { macsPerSecond: 1e6 })], ...free })
    expect(forced.alarms).toMatchObject([{ kind: 'slot-forced', subject: 'cam-1/cam0' }])
  })

  test('keeps means, margins, reserves and leases within every budget that can be kept', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ site: fc.constantFrom('a', 'b'), weight: fc.double({ min: 0, max: 3, noNaN: true }) }), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.integer({ min: 20_000, max: 900_000 }),
        fc.integer({ min: 0, max: 20_000 }),
        fc.option(fc.integer({ min: 2000, max: 40_000 })),
        (devices, total, reserved, powerMw) => {
          const plan = planFleet({
            slots: devices.map(({ site, weight }, i) => slot(i, site, { weight })),
            sites: new Map([['a', limit(total, reserved)]]),
            power: powerMw === null ? undefined : limit(powerMw),
          })
          const row = plan.sites.get('a')!
          const isAlarmed = plan.alarms.some(({ subject }) => subject === 'site:a')
          if (!isAlarmed) expect(row.planned + row.margin + row.reserved).toBeLessThanOrEqual(total)
          const leased = plan.slots.filter(({ input }) => input.site === 'a').map(({ lease }) => lease.rateBps!)
          expect(leased.reduce((a, b) => a + b, 0) + reserved).toBeLessThanOrEqual(Math.max(reserved, 0.97 * total + 1))
          if (powerMw !== null) {
            const watts = plan.slots.reduce((sum, { lease }) => sum + lease.powerW!, 0)
            expect(watts * 1000).toBeLessThanOrEqual(powerMw + 1)
            if (!plan.alarms.some(({ subject }) => subject === 'fleet'))
              expect(plan.power!.planned + plan.power!.margin).toBeLessThanOrEqual(powerMw)
          }
        },
      ),
      { numRuns: 60, seed: 3 },
    )
  })

  test('gives a ladder of at most twelve rungs that falls in rate and does not rise in power', () => {
    const [planned] = planFleet({ slots: [slot(1)], ...free }).slots
    const ladder = planned!.ladder
    expect(ladder[0]!.configuration).toEqual(planned!.chosen.configuration)
    expect(ladder.length).toBeGreaterThan(2)
    expect(ladder.length).toBeLessThanOrEqual(12)
    for (const [i, rung] of ladder.slice(1).entries()) {
      expect(rung.rateBps).toBeLessThan(ladder[i]!.rateBps)
      expect(rung.powerW).toBeLessThanOrEqual(ladder[i]!.powerW)
    }
  })

  test('raises no alarm for a site on which nothing runs, whatever is reserved there', () => {
    const plan = planFleet({ slots: [], sites: new Map([['local', limit(1000, 970)]]), power: limit(10) })
    expect(plan.alarms).toEqual([])
  })

  test('gives up a frame rate later than it would take it up, so that a busy device does not move to and fro', () => {
    const best = planFleet({ slots: [slot(1)], ...free }).slots[0]!.chosen
    const { common } = priorEstimate.latency
    const latencyMean = Math.log((0.97 / 5) * 0.8) - Math.log(best.prediction.latencyS) + common.mean
    const slow = { common: { ...common, mean: latencyMean, variance: 0.02, noise: 0.02 }, residuals: {} }
    const busy = { ...slot(1), estimate: { ...priorEstimate, latency: slow } }
    const staying = planFleet({ slots: [{ ...busy, planned: best.configuration }], ...free }).slots[0]!.chosen
    const coming = planFleet({ slots: [busy], ...free }).slots[0]!.chosen
    expect(staying.configuration).toEqual(best.configuration)
    expect(coming.configuration).not.toEqual(best.configuration)
  })

  test('does not flap when noise moves the estimates a little', () => {
    const sites = new Map([['local', limit(90_000)]])
    const estimateWith = (mean: number) => ({
      ...priorEstimate,
      bits: { common: { ...priorEstimate.bits.common, mean, variance: 0.001, noise: 0.001 }, residuals: {} },
    })
    const first = planFleet({ slots: [{ ...slot(1), estimate: estimateWith(0) }], sites, power: undefined })
    let planned = first.slots[0]!.chosen.configuration
    const seen = new Set<string>()
    for (const noise of [0.002, -0.002, 0.003, -0.001, 0.001, -0.003]) {
      const next = planFleet({
        slots: [{ ...slot(1), estimate: estimateWith(noise), planned }],
        sites,
        power: undefined,
      })
      planned = next.slots[0]!.chosen.configuration
      seen.add(`${planned.width} ${planned.frameRate}`)
    }
    expect(seen.size).toBe(1)
  })
})
