import { findContradiction, instanceSchema } from '@espalier/controller/plan/instance'
import { planInstance } from '@espalier/controller/plan/plan-instance'
import { chooseByPrice } from '@espalier/shared/ladder/choose-by-price'
import { describe, expect, test } from 'vitest'

const option = (id: string, rateBps: number, powerW: number, utility: number, more: object = {}) => ({
  id,
  rateBps,
  powerW,
  utility,
  ...more,
})
const two = [option('low', 100, 1, 0.2), option('high', 300, 2, 0.9)]
const instance = (changes: object) => instanceSchema.parse({ format: 'espalier-instance/1', devices: [], ...changes })

describe('planInstance()', () => {
  test('gives the scarce uplink to the device of more weight and says what one bit/s more is worth', () => {
    const plan = planInstance(
      instance({
        sites: [{ id: 'north', rateBps: 400 }],
        devices: [
          { id: 'a', site: 'north', options: two },
          { id: 'b', site: 'north', weight: 3, options: two },
        ],
      }),
    )
    expect(plan.devices.map((d) => d.option)).toEqual(['low', 'high'])
    expect(plan.devices[0]).toMatchObject({ runnerUp: 'high', binding: ['site:north'] })
    expect(plan.rows[0]).toMatchObject({ key: 'site:north', planned: 400, isKept: true })
    expect(plan.alarms).toEqual([])
  })

  test('holds the leases of devices that do not answer', () => {
    const devices = [{ id: 'a', site: 'north', options: two }]
    const sites = [{ id: 'north', rateBps: 400 }]
    const leases = [{ device: 'gone', site: 'north', rateBps: 150, powerW: 1 }]
    expect(planInstance(instance({ sites, devices })).devices[0]!.option).toBe('high')
    expect(planInstance(instance({ sites, devices, leases })).devices[0]!.option).toBe('low')
  })

  test('keeps floors, memory and deadlines, and names them where they bind', () => {
    const options = [
      option('poor', 1, 1, 0.1, { quality: 20 }),
      option('good', 2, 1, 0.5, { quality: 30 }),
      option('heavy', 3, 1, 0.9, { quality: 35, memoryBytes: 2e9 }),
      option('slow', 3, 1, 0.8, { quality: 35, latencyMs: 99, frameRate: 10 }),
    ]
    const devices = [{ id: 'a', site: 'x', minQuality: 25, memoryBytes: 1e9, options }]
    const plan = planInstance(instance({ devices }))
    expect(plan.devices[0]!.option).toBe('good')
    expect([...plan.devices[0]!.binding].sort()).toEqual(['deadline', 'memory'])
  })

  test('keeps a carbon budget where the grid is dirty and leaves the clean site alone', () => {
    const plan = planInstance(
      instance({
        fleet: { carbonGPerH: 0.6 },
        sites: [
          { id: 'clean', carbonGPerKwh: 50 },
          { id: 'dirty', carbonGPerKwh: 500 },
        ],
        devices: [
          { id: 'a', site: 'clean', options: two },
          { id: 'b', site: 'dirty', options: two },
        ],
      }),
    )
    expect(plan.devices.map((d) => d.option)).toEqual(['high', 'low'])
    expect(plan.rows.find(({ key }) => key === 'carbon')).toMatchObject({ planned: 0.6, isKept: true })
  })

  test('stays with the model that runs while another is hardly better', () => {
    const options = [option('a1', 1, 1, 0.5, { model: 'a' }), option('b1', 1, 1, 0.52, { model: 'b' })]
    const devices = [{ id: 'd', site: 'x', current: 'a1', options }]
    expect(planInstance(instance({ devices })).devices[0]!.option).toBe('b1')
    expect(planInstance(instance({ devices, stickiness: { model: 0.05, option: 0.01 } })).devices[0]!.option).toBe('a1')
  })

  test('does not depend on the order in which devices and options are listed', () => {
    const devices = ['a', 'b', 'c'].map((id) => ({ id, site: 'north', options: two }))
    const sites = [{ id: 'north', rateBps: 500 }]
    const chosen = (plan: ReturnType<typeof planInstance>) => new Map(plan.devices.map((d) => [d.id, d.option]))
    const turned = devices.toReversed().map((d) => ({ ...d, options: two.toReversed() }))
    expect(chosen(planInstance(instance({ sites, devices: turned })))).toEqual(
      new Map([...chosen(planInstance(instance({ sites, devices })))].reverse()),
    )
  })

  test('runs the cheapest and raises an alarm where a limit cannot be kept', () => {
    const plan = planInstance(
      instance({ sites: [{ id: 'north', rateBps: 50 }], devices: [{ id: 'a', site: 'north', options: two }] }),
    )
    expect(plan.devices[0]!.option).toBe('low')
    expect(plan.alarms).toHaveLength(1)
  })

  test('names what is there twice or not at all', () => {
    const device = { id: 'a', site: 'x', options: two }
    expect(findContradiction(instance({ devices: [device, device] }))).toMatch('device "a" is there twice')
    expect(findContradiction(instance({ sites: [{ id: 's', gateway: 'g' }] }))).toMatch('gateway "g"')
  })
})

describe('chooseByPrice()', () => {
  test('chooses the same from a plan that went through JSON, in any order', () => {
    const choices = [3, 1, 2, 5, 4].map((i) => ({ id: `c${i}`, rateBps: 100 * i, powerMw: 10, utility: 1000 * i }))
    const prices = { lambda: 10, mu: 0 }
    const sent = JSON.parse(JSON.stringify({ choices: choices.toReversed(), prices }))
    // All are worth the same at these prices: the least rate wins.
    expect(chooseByPrice(choices, prices).id).toBe('c1')
    expect(chooseByPrice(sent.choices as typeof choices, sent.prices as typeof prices).id).toBe('c1')
    expect(chooseByPrice(choices, { lambda: 9, mu: 0 }, { rateBps: 350 }).id).toBe('c3')
  })
})
