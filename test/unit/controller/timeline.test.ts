import { join } from 'node:path'
import { type Boot, reconstruct } from '@espalier/controller/ingest/timeline'
import { reserveOf } from '@espalier/controller/planner/reserve'
import { openStore } from '@espalier/controller/store/open-store'
import type { Desired } from '@espalier/shared/messages/controller'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { describe, expect, test } from 'vitest'
import { configuration, DEVICE, SLOT, temporaryFolder } from './controller-fixtures.ts'

const HOUR = 3_600_000
const T0 = Date.UTC(2026, 10, 1)

const bootOf = (number: number, changes: Partial<Boot> = {}): Boot => ({
  boot: `b${number}`,
  number,
  met: number,
  contactZeroMs: undefined,
  ownZeroMs: undefined,
  lastMonoMs: HOUR,
  ...changes,
})

describe('reconstruct()', () => {
  test('places a boot that was offline between those that were heard, at the end of the gap', () => {
    const boots = [bootOf(1, { contactZeroMs: T0 }), bootOf(2), bootOf(3, { contactZeroMs: T0 + 5 * HOUR })]
    expect(reconstruct(boots, T0 + 6 * HOUR).get('b2')).toEqual({
      zeroMs: T0 + 4 * HOUR,
      uncertaintyMs: 3 * HOUR,
      source: 'between',
    })
  })

  test('believes a disciplined clock of the device, but not one that is ahead of the present', () => {
    const boots = [bootOf(1, { contactZeroMs: T0 }), bootOf(2, { ownZeroMs: T0 + 2 * HOUR })]
    expect(reconstruct(boots, T0 + 5 * HOUR).get('b2')).toMatchObject({ zeroMs: T0 + 2 * HOUR, source: 'ntp' })
    const ahead = [bootOf(1, { contactZeroMs: T0 }), bootOf(2, { ownZeroMs: T0 + 900 * HOUR })]
    expect(reconstruct(ahead, T0 + 5 * HOUR).get('b2')).toMatchObject({ zeroMs: T0 + 4 * HOUR, source: 'between' })
  })

  test('goes by the count of boots, not by the order in which they were heard', () => {
    const boots = [
      bootOf(1, { contactZeroMs: T0 }),
      bootOf(4, { met: 2, contactZeroMs: T0 + 9 * HOUR }),
      bootOf(2, { met: 3 }),
      bootOf(3, { met: 4 }),
    ]
    const found = reconstruct(boots, T0 + 10 * HOUR)
    expect(['b2', 'b3'].map((boot) => found.get(boot)!.zeroMs)).toEqual([T0 + 7 * HOUR, T0 + 8 * HOUR])
  })
})

describe('the table of boots', () => {
  const say = (
    boot: string,
    bootNumber: number,
    mono: number,
    wall: number,
    clk: Envelope['clk'] = 'none',
  ): Envelope => ({
    v: 1,
    bd: 1,
    boot,
    bootNumber,
    seq: 0,
    mono,
    wall,
    clk,
    body: undefined,
  })

  test('tells when records of a device without a clock were made, over jumps of its clock and a reboot while offline', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    let store = openStore(path)
    // In contact, an hour later cut off, two hours of records with a clock that jumps to and fro.
    store.boots.note(DEVICE, say('one', 1, 0, 0), T0)
    store.boots.note(DEVICE, say('one', 1, HOUR, 0), T0 + HOUR + 120)
    for (const [mono, wall] of [
      [1.5 * HOUR, 5e12],
      [2 * HOUR, -7],
      [3 * HOUR, 1e9],
    ] as const)
      store.boots.note(DEVICE, say('one', 1, mono, wall, 'restored'), undefined)
    store.close()
    store = openStore(path)
    // It is started again, offline for an hour, and then once more, with a network.
    store.boots.note(DEVICE, say('three', 3, 0, 0), T0 + 5 * HOUR)
    store.boots.note(DEVICE, say('two', 2, 20_000, 0), undefined)
    store.boots.note(DEVICE, say('two', 2, HOUR, 0), undefined)
    const found = store.boots.beginnings(DEVICE, T0 + 5 * HOUR)
    expect(found.get('one')).toMatchObject({ zeroMs: T0, source: 'contact' })
    expect(found.get('two')).toMatchObject({ zeroMs: T0 + 4 * HOUR, uncertaintyMs: HOUR })
    expect(store.boots.newest(DEVICE)!.boot).toBe('three')
    store.close()
  })

  test('takes a device that lost its count for what it is: the newest', () => {
    const store = openStore(join(temporaryFolder(), 'c.sqlite'))
    store.boots.note(DEVICE, say('old', 7, 0, 0), T0)
    store.boots.note(DEVICE, say('new', 1, 0, 0), T0 + HOUR)
    expect(store.boots.newest(DEVICE)!.boot).toBe('new')
    store.boots.note(DEVICE, say('newer', 2, 0, 0), T0 + 2 * HOUR)
    expect(store.boots.list(DEVICE).map(({ boot }) => boot)).toEqual(['old', 'new', 'newer'])
    store.close()
  })
})

test('reserveOf() holds leases until the capsule has ended, then safe floors for a day', () => {
  const rung = (rateBps: number) => ({ configuration, rateBps, powerW: 1, utility: 1 })
  const desired: Desired = {
    gen: 1,
    telemetryIntervalS: 1,
    slots: [
      { slot: SLOT, ladder: [rung(900), rung(100)], lease: { rateBps: 1000, ttlS: 120 }, prices: { lambda: 0, mu: 0 } },
    ],
  }
  const at = (hours: number): number => reserveOf(desired, 'rateBps', hours * HOUR, 3600)
  expect([0, 1, 1.1, 23, 25].map(at)).toEqual([1000, 1000, 100, 100, 0])
})
