import { priorEstimate } from '@espalier/controller/estimate/slot-estimate'
import { allowedOptions, listOptions, type SlotInput } from '@espalier/controller/plan/option'
import { choosePlan, type Limit, type PlanInput, planFleet, planPrepared } from '@espalier/controller/plan/plan-fleet'
import { prepareSlot, prune } from '@espalier/controller/plan/prepare'
import { FleetSolver } from '@espalier/controller/plan/solve'
import { SlotCache } from '@espalier/controller/planner/slot-inputs'
import { comparePlans } from '@espalier/controller/planner/what-if'
import { deviceIdSchema } from '@espalier/shared/ids'
import { chooseByPrice } from '@espalier/shared/ladder/choose-by-price'
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

/** A device whose idle power is known: two deviations of an unknown one are as much as all it draws. */
const known = { ...priorEstimate, basePower: { meanW: 2, varianceW2: 0, readings: 9 } }

describe('planFleet() with gateways, carbon and devices of their own limits', () => {
  test('keeps a gateway over its sites, and says what more of it would be worth to how many slots', () => {
    const slots = [1, 2, 3].map((i) => ({ ...slot(i, i === 3 ? 'south' : 'north'), gateway: 'mast' }))
    const ample = planFleet({ slots, ...free }).slots[0]!.chosen.rateBps
    const total = Math.floor(1.2 * ample)
    const gateways = new Map([['mast', { ...limit(total, 1000), sites: ['north', 'south'] }]])
    const plan = planFleet({ slots, sites: new Map(), power: undefined, gateways })
    const [row] = plan.rows
    expect(row).toMatchObject({ key: 'gateway:mast', unit: 'bit/s', isKept: true })
    expect(row!.planned + row!.margin + row!.reserved).toBeLessThanOrEqual(total)
    expect(row!.worth).toMatch(/^10 kbit\/s more for gateway:mast is worth [0-9.]+ dB on 3 slots$/)
    for (const { why } of plan.slots) {
      expect(why.binding).toBe('uplink gateway:mast')
      expect(why.lambda).toBeCloseTo(row!.price, 12)
    }
    const leased = plan.slots.reduce((sum, { lease }) => sum + lease.rateBps!, 0)
    expect(leased + 1000).toBeLessThanOrEqual(0.97 * total + 1)
  })

  test('spends carbon where the grid is clean', () => {
    const at = (i: number, carbonGPerKwh: number): SlotInput => ({ ...slot(i), estimate: known, carbonGPerKwh })
    const slots = [at(1, 50), at(2, 500)]
    const grams = (plan: ReturnType<typeof planFleet>) =>
      plan.slots.reduce((sum, { chosen, input }) => sum + chosen.powerMw * input.carbonGPerKwh!, 0)
    const best = planFleet({ slots, ...free })
    const idle = 2000 * 550
    const total = Math.floor(idle + 0.5 * (grams(best) - idle))
    const plan = planFleet({ slots, sites: new Map(), power: undefined, carbon: limit(total) })
    const [clean, dirty] = plan.slots
    expect(grams(plan)).toBeLessThanOrEqual(total)
    expect(clean!.chosen.id).toBe(best.slots[0]!.chosen.id)
    expect(dirty!.chosen.merit).toBeLessThan(clean!.chosen.merit)
    expect(dirty!.why.binding).toBe('carbon fleet')
    expect(dirty!.why.mu).toBeCloseTo(10 * clean!.why.mu, 9)
    expect(plan.rows[0]).toMatchObject({ key: 'carbon', unit: 'g/h', limit: total / 1e6 })
    expect(dirty!.lease.powerW! * 1000 * 500 + clean!.lease.powerW! * 1000 * 50).toBeLessThanOrEqual(total)
  })

  test('keeps what a device may draw, says that it binds, and takes the least power where nothing keeps it', () => {
    const best = planFleet({ slots: [{ ...slot(1), estimate: known }], ...free }).slots[0]!.chosen
    const maxPowerW = 2 + 0.5 * (best.prediction.powerW - 2)
    const capped = planFleet({ slots: [{ ...slot(1), estimate: known, maxPowerW }], ...free })
    expect(capped.slots[0]!.chosen.prediction.powerW).toBeLessThanOrEqual(maxPowerW)
    expect(capped.slots[0]!.why.binding).toBe('device power')
    expect(capped.slots[0]!.why.price).toMatch(/more for this device would be worth/)
    expect(capped.slots[0]!.lease.powerW).toBe(maxPowerW)
    expect(capped.rows).toMatchObject([{ key: 'device:cam-1', unit: 'W', limit: maxPowerW, isKept: true }])
    const forced = planFleet({ slots: [{ ...slot(1), estimate: known, maxPowerW: 1 }], ...free })
    expect(forced.alarms).toMatchObject([{ kind: 'slot-forced', message: /power of the device/ }])
    const least = Math.min(...listOptions(forced.slots[0]!.input).map(({ powerMw }) => powerMw))
    expect(forced.slots[0]!.chosen.powerMw).toBe(least)
  })

  test('gives a gateway that cannot be kept the cheapest configurations, and names it', () => {
    const slots = [1, 2].map((i) => ({ ...slot(i), gateway: 'mast' }))
    const gateways = new Map([['mast', { ...limit(1000), sites: ['local'] }]])
    const plan = planFleet({ slots, sites: new Map(), power: undefined, gateways })
    expect(plan.alarms).toMatchObject([{ kind: 'gateway-infeasible', subject: 'gateway:mast' }])
    for (const { chosen, input } of plan.slots)
      expect(chosen.rateBps).toBe(Math.min(...allowedOptions(listOptions(input)).allowed.map((o) => o.rateBps)))
  })
})

describe('the same inputs', () => {
  const slots = Array.from({ length: 30 }, (_, i) => ({
    ...slot(i, i % 2 === 0 ? 'north' : 'south', { weight: 1 + (i % 5) / 4 }),
    estimate: known,
  }))
  const best = planFleet({ slots, ...free })
  const rate = best.slots.reduce((sum, { chosen }) => sum + chosen.rateBps, 0)
  const limits = { sites: new Map([['north', limit(Math.floor(rate / 4))]]), power: limit(30 * 2400) }

  test('give the same plan, in any order and from any prices', () => {
    const plan = planFleet({ slots, ...limits })
    const again = planFleet({ slots: slots.toReversed(), ...limits })
    const warm = planFleet({ slots, ...limits }, plan.prices)
    const ids = (p: typeof plan) => new Map(p.slots.map(({ input, chosen }) => [input.key, chosen.id]))
    expect(ids(again)).toEqual(new Map([...ids(plan)].toReversed()))
    expect(warm.value).toBeGreaterThan(plan.value * (1 - 1e-3))
    expect(Math.abs(warm.bound - plan.bound)).toBeLessThan(1e-6 * plan.bound)
  })

  test('have an answer to prices alone on each device that loses no more than the gap in all', () => {
    const plan = planFleet({ slots, ...limits })
    expect(plan.rows.some(({ price }) => price > 0)).toBe(true)
    let lost = 0
    for (const { input, chosen, why } of plan.slots) {
      // What a device is sent: utility per bit/s and per watt.
      const prices = { lambda: why.lambda * 1e6, mu: why.mu * 1e3 }
      const worth = (o: typeof chosen) => o.utility - prices.lambda * o.rateBps - prices.mu * o.powerMw
      const alone = chooseByPrice(allowedOptions(listOptions(input)).allowed, prices)
      lost += (worth(alone) - worth(chosen)) / 1e6
    }
    expect(lost).toBeGreaterThanOrEqual(-1e-6)
    expect(lost).toBeLessThanOrEqual(plan.bound - plan.value + 1e-6 * plan.bound)
  })

  test('change nothing under the same budgets, and under a tighter one what must', () => {
    const prepared = slots.map(prepareSlot)
    const now = planFleet({ slots, ...limits })
    const same = comparePlans({ now, slots: prepared, after: choosePlan(prepared, limits) }, 10)
    expect(same.slots).toEqual({ total: 30, changed: 0 })
    expect(same.after.value).toBe(same.now.value)
    const tight = { ...limits, sites: new Map([['north', limit(Math.floor(rate / 8))]]) }
    const squeezed = comparePlans({ now, slots: prepared, after: choosePlan(prepared, tight) }, 3)
    expect(squeezed.after.value).toBeLessThan(squeezed.now.value)
    expect(squeezed.changes).toHaveLength(3)
    const losses = squeezed.changes.map(({ utility }) => Math.abs(utility))
    expect(losses).toEqual(losses.toSorted((a, b) => b - a))
    const north = squeezed.rows.find(({ key }) => key === 'site:north')!
    expect(north.after!.price).toBeGreaterThan(north.now!.price)
    expect(north.after!.planned).toBeLessThan(north.now!.planned)
  })
})

describe('prune()', () => {
  test('keeps what is best at any prices, with and without the bonus for staying', () => {
    const options = allowedOptions(listOptions(slot(1))).allowed
    const kept = prune(options)
    expect(kept.length).toBeLessThan(options.length)
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 50, noNaN: true }),
        fc.double({ min: 0, max: 500, noNaN: true }),
        (lambda, mu) => {
          const worth = (o: (typeof kept)[number]) => o.utility - lambda * o.rateBps - mu * o.powerMw
          const most = (of: typeof options) => Math.max(...of.map(worth))
          expect(most(kept)).toBe(most(options))
        },
      ),
      { numRuns: 50, seed: 5 },
    )
  })
})

describe('prepareSlot()', () => {
  test('makes one option as it makes all of them, and its columns say the same', () => {
    for (const planned of [undefined, listOptions(slot(1))[40]!.configuration]) {
      const prepared = prepareSlot({ ...slot(1), planned })
      const { allowed } = prepared.list()
      expect(allowed).toEqual(prune(allowedOptions(listOptions(prepared.input)).allowed))
      for (const [k, option] of allowed.entries()) {
        expect(prepared.optionAt(k)).toEqual(option)
        expect(prepared.choices.rateBps[k]).toBe(option.rateBps)
        expect(prepared.choices.powerMw[k]).toBe(option.powerMw)
        expect(prepared.choices.utility[k]).toBe(option.utility)
      }
      expect(prepared.mostUtility).toBe(Math.max(...allowed.map(({ utility }) => utility)))
    }
  })
})

describe('planPrepared() of a fleet of which one device was heard', () => {
  test('moves that slot and at most a neighbour, keeps every limit, and carries bounds', () => {
    const [cache, solver] = [new SlotCache(), new FleetSolver(true)]
    let inputs = Array.from({ length: 60 }, (_, i) => slot(i, i % 2 === 0 ? 'a' : 'b'))
    // So wide that no row is tightened for its deviations: bounds of the same limits can be compared.
    const wide = (total: number): Limit => ({ ...limit(total), marginShare: 0.2 })
    const limits = { sites: new Map(['a', 'b'].map((site) => [site, wide(2_200_000)])), power: wide(60 * 3000) }
    const whole = planPrepared(cache.prepare(inputs), limits, undefined, { solver })
    expect(whole.isWhole).toBe(true)
    let before = whole
    let alone = 0
    for (let k = 0; k < 20; k++) {
      const { bits } = inputs[k]!.estimate
      const common = { ...bits.common, mean: bits.common.mean + (k % 2 === 0 ? 0.1 : -0.1) }
      inputs = inputs.with(k, { ...inputs[k]!, estimate: { ...inputs[k]!.estimate, bits: { ...bits, common } } })
      const plan = planPrepared(cache.prepare(inputs), limits, before.prices, { solver, wholeGap: whole.gap })
      if (!plan.isWhole) {
        alone++
        const moved = plan.slots.filter(({ chosen }, i) => chosen.id !== before.slots[i]!.chosen.id)
        expect(moved.length).toBeLessThanOrEqual(2)
        expect(plan.gap).toBeLessThanOrEqual(whole.gap + 0.001)
      }
      for (const row of plan.rows) expect(row.isKept).toBe(true)
      expect(plan.bound).toBeGreaterThanOrEqual(planFleet({ slots: inputs, ...limits }).value)
      before = plan
    }
    expect(alone).toBeGreaterThan(5)
    // Another uplink is not for one slot to keep.
    const tighter = { ...limits, sites: new Map(limits.sites).set('a', wide(1_500_000)) }
    expect(planPrepared(cache.prepare(inputs), tighter, before.prices, { solver, wholeGap: whole.gap }).isWhole).toBe(
      true,
    )
  })
})
