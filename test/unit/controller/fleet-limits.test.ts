import { LEASED_SHARE } from '@espalier/controller/plan/leases'
import { type Holder, makeLimits, slotFacts } from '@espalier/controller/planner/fleet-limits'
import { type Leased, widen } from '@espalier/controller/planner/widen'
import type { Budget } from '@espalier/controller/store/budgets'
import { deviceIdSchema } from '@espalier/shared/ids'
import { describe, expect, test } from 'vitest'

const budgets = new Map<string, Budget>([
  ['fleet', { powerW: 400, carbonGPerH: 90 }],
  ['gateway:mast', { rateBps: 1e6 }],
  ['site:north', { rateBps: 3e5, gateway: 'mast', carbonGPerKwh: 320 }],
  ['site:south', { gateway: 'mast', carbonGPerKwh: 60 }],
  ['device:cam-1', { powerW: 6 }],
])
const holders: Holder[] = [
  { site: 'north', rateBps: 50_000, powerW: 2 },
  { site: 'south', rateBps: 20_000, powerW: 3 },
  { site: undefined, rateBps: 0, powerW: 1 },
]

describe('makeLimits()', () => {
  const limits = makeLimits(budgets, holders, (key) => (key === 'carbon' ? 0.05 : 0.08))

  test('holds what silent devices may use against every limit that they share', () => {
    expect(limits.sites.get('north')).toEqual({ total: 3e5, reserved: 50_000, marginShare: 0.08 })
    expect(limits.gateways!.get('mast')).toEqual({
      total: 1e6,
      reserved: 70_000,
      marginShare: 0.08,
      sites: ['north', 'south'],
    })
    expect(limits.power).toEqual({ total: 400_000, reserved: 6000, marginShare: 0.08 })
    expect(limits.carbon).toEqual({ total: 90e6, reserved: 2000 * 320 + 3000 * 60, marginShare: 0.05 })
  })

  test('gives a site no limit of its own where only its gateway has one', () => {
    expect([...limits.sites.keys()]).toEqual(['north'])
  })
})

describe('slotFacts()', () => {
  test('shares what a device may draw among its slots', () => {
    expect(slotFacts(budgets, 'cam-1', 'north', 2)).toEqual({ gateway: 'mast', carbonGPerKwh: 320, maxPowerW: 3 })
    expect(slotFacts(budgets, 'cam-2', 'elsewhere', 1)).toEqual({})
  })
})

describe('widen()', () => {
  const leased = (id: string, site: string, kept: number, planned: number): Leased => ({
    id: deviceIdSchema.parse(id),
    site,
    carbonGPerKwh: 100,
    kept: { rateBps: kept, powerW: kept / 1e5 },
    planned: { rateBps: planned, powerW: planned / 1e5 },
  })

  test('sends all leases of a gateway where the one that grew and those that are kept exceed it together', () => {
    const devices = [leased('a', 'north', 1e5, 5e5), leased('b', 'south', 6e5, 3e5), leased('c', 'far', 9e5, 1e5)]
    const gateway = { total: 1e6, reserved: 0, marginShare: 0, sites: ['north', 'south'] }
    const changed = new Set([devices[0]!.id])
    widen(changed, devices, { sites: new Map(), gateways: new Map([['mast', gateway]]), power: undefined })
    expect([...changed]).toEqual(['a', 'b'])
    const sum = devices.slice(0, 2).reduce((all, { planned }) => all + planned.rateBps, 0)
    expect(sum).toBeLessThanOrEqual(LEASED_SHARE * gateway.total)
  })

  test('leaves leases alone that fit as they are', () => {
    const devices = [leased('a', 'north', 1e5, 2e5), leased('b', 'north', 1e5, 9e5)]
    const changed = new Set([devices[0]!.id])
    const site = { total: 1e6, reserved: 0, marginShare: 0 }
    const carbon = { total: 1e9, reserved: 0, marginShare: 0 }
    widen(changed, devices, { sites: new Map([['north', site]]), power: undefined, carbon })
    expect([...changed]).toEqual(['a'])
  })
})
