import { join } from 'node:path'
import { EventBus } from '@espalier/controller/events'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { extendWindow, type RecentWindow } from '@espalier/controller/ingest/recent-window'
import { type Change, ChangeLog, groupByCause } from '@espalier/controller/overview/change-log'
import type { DeviceRow } from '@espalier/controller/overview/device-row'
import { groupRows } from '@espalier/controller/overview/group-rows'
import { judgeHealth } from '@espalier/controller/overview/judge-health'
import { measureWindow } from '@espalier/controller/overview/measure-window'
import { Overview } from '@espalier/controller/overview/overview'
import { pageOfRows, pageQuerySchema } from '@espalier/controller/overview/page-of-rows'
import { measureWhole } from '@espalier/controller/planner/measure'
import { openStore } from '@espalier/controller/store/open-store'
import { describe, expect, test } from 'vitest'
import { configuration, DEVICE, makeBirth, makeTelemetry, temporaryFolder } from './controller-fixtures.ts'

const row = (id: string, more: Partial<DeviceRow> = {}): DeviceRow => ({
  id,
  health: 'ok',
  state: 'ready',
  lastSeenMs: 1,
  slots: 1,
  ...more,
})

/** Telemetry of a slot that does five frames a second at 10 J. */
const at = (seconds: number, boot = 'boot-1') => ({
  boot,
  seq: seconds,
  monoMs: seconds * 1000,
  counters: makeTelemetry(configuration, {
    frames: 5 * seconds,
    bits: 50_000 * seconds,
    joules: 10 * seconds,
    idleJoules: 2 * seconds,
    seconds,
  }),
})

describe('the window of what a device did lately', () => {
  test('spans five to ten seconds at a message a second, from three messages', () => {
    let window: RecentWindow | undefined
    for (let second = 1; second <= 60; second++) {
      window = extendWindow(window, at(second))
      const spanMs = window.last.monoMs - window.first.monoMs
      if (second > 10) expect(spanMs).toBeGreaterThanOrEqual(5000)
      expect(spanMs).toBeLessThan(10_000)
    }
    const measured = measureWindow(window!.first, window!.last)!
    expect(measured.slots[0]).toMatchObject({ framesPerSecond: 5, rateBps: 50_000, joulesPerFrame: 2, psnrDb: 34 })
    expect(measured.powerW).toBeCloseTo(10.1)
  })

  test('counts what the model booked while a sensor was silent', () => {
    const withGap = (seconds: number, sensed: number, modelled: number) => {
      const row = at(seconds)
      const [source] = row.counters.energy
      const sensor = {
        ...source!,
        source: 'ina',
        scope: 'board',
        method: 'sensor',
        joules: sensed,
        idleJoules: sensed / 4,
      }
      const model = {
        ...source!,
        source: 'model:cpu',
        scope: 'modelled',
        method: 'model',
        joules: modelled,
        idleJoules: modelled / 4,
      }
      return { ...row, counters: { ...row.counters, energy: [sensor, model] as typeof row.counters.energy } }
    }
    // Ten seconds at 5 W: six of them by the sensor.
    const [first, last] = [withGap(10, 100, 40), withGap(20, 130, 60)]
    expect(measureWindow(first, last)).toMatchObject({ powerW: 5, idleW: 1.25 })
    expect(measureWhole(first, last)).toMatchObject({ powerW: 5, idleW: 1.25 })
  })

  test('begins anew with another boot, and is two messages where those are rare', () => {
    const rare = [0, 30, 60].reduce<RecentWindow | undefined>(
      (window, second) => extendWindow(window, at(second)),
      undefined,
    )
    expect(rare!.last.monoMs - rare!.first.monoMs).toBe(30_000)
    const again = extendWindow(rare, at(1, 'boot-2'))
    expect(measureWindow(again.first, again.last)).toBeUndefined()
  })
})

describe('the health of a device', () => {
  const { counters } = at(1)
  const reported = (slot: object) =>
    ({ gen: 1, slots: [{ slot: 'cam0', configuration, phase: 'applied', ...slot }] }) as never

  test('is what is worst, with the reason that the device gave', () => {
    const judge = (device: object) =>
      judgeHealth({ state: 'ready', reason: undefined, reported: undefined, ...device }, counters)
    expect(judge({})).toEqual({ health: 'ok' })
    expect(judge({ state: 'lost', reason: 'no keep-alive' })).toEqual({ health: 'lost', reason: 'lost: no keep-alive' })
    expect(judge({ reported: reported({ phase: 'braked', reason: 'over its lease' }) })).toEqual({
      health: 'attention',
      reason: 'cam0 braked: over its lease',
    })
    expect(judge({ reported: reported({ update: { state: 'rolled-back', reason: 'slower' } }) })).toEqual({
      health: 'attention',
      reason: 'update rolled-back: slower',
    })
    expect(judge({ reported: reported({ isPaused: true }) })).toEqual({ health: 'resting', reason: 'paused' })
  })
})

describe('a page of devices', () => {
  const rows = [
    row('a', { powerW: 3, site: 'x' }),
    row('b', { site: 'y' }),
    row('c', { powerW: 9, site: 'x', health: 'lost' }),
  ]
  const page = (query: object) =>
    pageOfRows(rows, pageQuerySchema.parse(query), ({ site }) => site).rows.map(({ id }) => id)

  test('is filtered, sorted and cut; what is not known comes last in either order', () => {
    expect(page({ sort: 'powerW', order: 'down' })).toEqual(['c', 'a', 'b'])
    expect(page({ sort: 'powerW', order: 'up' })).toEqual(['a', 'c', 'b'])
    expect(page({ by: 'site', key: 'x', offset: 1 })).toEqual(['c'])
    expect(page({ health: 'lost' })).toEqual(['c'])
    expect(page({ search: ' Y ' })).toEqual(['b'])
    expect(page({ sort: 'health' })[0]).toBe('c')
  })

  test('is one of groups whose sums are those of their devices', () => {
    const [x] = groupRows(rows, ({ site }) => site)
    expect(x).toMatchObject({ key: 'x', devices: 2, powerW: 12, byHealth: { ok: 1, lost: 1 } })
  })
})

describe('what changed', () => {
  const change = (atMs: number, more: Partial<Change> = {}): Change => ({
    atMs,
    kind: 'configuration',
    what: 'a → b',
    why: 'because',
    cause: 'held by uplink site:x',
    ...more,
  })

  test('is counted by cause, the one of most devices first', () => {
    const log = new ChangeLog()
    log.add(change(1, { device: 'a', psnrDb: -1 }))
    log.add(change(2, { device: 'b', psnrDb: -3 }))
    log.add(change(3, { device: 'a', kind: 'state', cause: 'lost' }))
    const causes = groupByCause(log.since(0))
    expect(causes.map(({ cause, changes, devices, psnrDb }) => [cause, changes, devices, psnrDb])).toEqual([
      ['held by uplink site:x', 2, 2, -2],
      ['lost', 1, 1, undefined],
    ])
    expect(log.since(3)).toHaveLength(1)
  })

  test('is forgotten after an hour', () => {
    const log = new ChangeLog()
    log.add(change(0))
    log.add(change(2 * 3_600_000))
    expect(log.since(0)).toHaveLength(1)
  })
})

describe('the overview', () => {
  test('makes a row again when something was heard, and tells of a device that was lost', () => {
    const store = openStore(join(temporaryFolder(), 'controller.sqlite'))
    const fleet = Fleet.load(store)
    const events = new EventBus()
    const clock = { wallMs: () => 1000, monotonicMs: () => 1000 } as never
    const overview = new Overview({
      fleet,
      events,
      clock,
      streams: { view: () => undefined },
      latestPlan: () => undefined,
    })
    const device = fleet.open(DEVICE)
    Object.assign(device, { state: 'ready', birth: makeBirth() })
    const hear = (what: 'state' | 'birth' | 'telemetry') =>
      events.emit({ kind: 'device', data: { device: DEVICE, what } })
    hear('birth')
    device.recent = extendWindow(extendWindow(undefined, at(1)), at(7))
    hear('telemetry')
    expect(overview.rows()).toMatchObject([{ id: DEVICE, health: 'ok', site: 'local', rateBps: 50_000 }])
    device.state = 'lost'
    // Nothing was heard yet.
    expect(overview.rows()[0]!.health).toBe('ok')
    hear('state')
    expect(overview.rows()[0]!.health).toBe('lost')
    expect(overview.changes.since(0)).toMatchObject([{ kind: 'state', device: DEVICE, what: 'well → lost' }])
    overview.close()
    store.close()
  })
})

describe('series', () => {
  test('are thinned to the points that are asked for, as means, and are of one scope', () => {
    const store = openStore(join(temporaryFolder(), 'controller.sqlite'))
    const point = (powerW: number) => ({
      powerW,
      rateBps: 1,
      gramsPerHour: 0,
      framesPerSecond: 5,
      devices: 1,
      troubled: 0,
    })
    for (let i = 0; i < 100; i++)
      store.series.add(
        10_000 * i,
        new Map([
          ['fleet', point(i)],
          ['site:x', point(0)],
        ]),
      )
    const points = store.series.between('fleet', 0, 1_000_000, 10)
    expect(points.length).toBeGreaterThanOrEqual(10)
    expect(points.length).toBeLessThanOrEqual(11)
    expect(points[0]!.powerW).toBeCloseTo(4.5, 0)
    expect(store.series.between('site:x', 0, 1_000_000, 10).every(({ powerW }) => powerW === 0)).toBe(true)
    // A day is drawn from means of five minutes.
    expect(store.series.between('fleet', 0, 86_400_000, 1000).length).toBe(3)
    store.close()
  })

  test('of a device are its kept telemetry, one message for each stretch of time', () => {
    const store = openStore(join(temporaryFolder(), 'controller.sqlite'))
    for (let second = 0; second < 120; second++) {
      const { boot, seq, monoMs, counters } = at(second)
      store.telemetry.accumulate(
        DEVICE,
        { v: 1, bd: 1, boot, seq, mono: monoMs, wall: 0, clk: 'none', body: counters },
        1000 * second,
      )
    }
    const samples = store.samples.thinned(DEVICE, 0, 120_000, 12)
    expect(samples.length).toBeGreaterThanOrEqual(12)
    expect(samples.length).toBeLessThanOrEqual(13)
    expect(samples.at(-1)!.seq).toBe(119)
    store.close()
  })
})
