import { join } from 'node:path'
import { isPublicAddress } from '@espalier/controller/alert/check-address'
import { parseCondition } from '@espalier/controller/alert/condition'
import { type AlertState, evaluateRules } from '@espalier/controller/alert/evaluate-rules'
import { metrics } from '@espalier/controller/alert/metrics'
import { readMetrics } from '@espalier/controller/alert/read-metrics'
import type { Reading } from '@espalier/controller/alert/reading'
import { type Rule, ruleBodySchema } from '@espalier/controller/alert/rule'
import { loadConfig } from '@espalier/controller/config'
import { openStore } from '@espalier/controller/store/open-store'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from './controller-fixtures.ts'

const makeRule = (condition: string, rest: object = {}): Rule => ({
  id: 'hot',
  ...ruleBodySchema.parse({ condition, ...rest }),
})

/** A rule over a series of readings of one subject, a second apart: what happened, with when. */
function play(rule: Rule, values: readonly (number | undefined)[], budget?: number): string[] {
  let states: readonly AlertState[] = []
  const happened: string[] = []
  for (const [second, value] of values.entries()) {
    const reading: Reading = { subject: 'cam-1', labels: { site: 'local' }, value, budget }
    const next = evaluateRules([rule], () => [reading], states, second * 1000)
    for (const { event } of next.events) happened.push(`${second} ${event}`)
    states = JSON.parse(JSON.stringify(next.states))
  }
  return happened
}

describe('a condition', () => {
  test('is read with its units and its time', () => {
    expect(parseCondition('device.powerW > 12 for 60s')).toMatchObject({
      comparison: { operator: '>', threshold: 12 },
      forMs: 60_000,
    })
    expect(parseCondition('device.rateBps>=2 Mbit/s')).toMatchObject({ comparison: { threshold: 2e6 }, forMs: 0 })
    expect(parseCondition('device.powerW < 800mW for 1.5m').comparison?.threshold).toBeCloseTo(0.8)
    expect(parseCondition('site.offlineShare > 10 %').comparison?.threshold).toBeCloseTo(0.1)
    expect(parseCondition('site.rateBps > 0.95 budget').comparison).toEqual({
      operator: '>',
      threshold: 0.95,
      isOfBudget: true,
    })
    expect(parseCondition('device.offline for 5m')).toMatchObject({ forMs: 300_000 })
    expect(parseCondition('update.rolled-back').comparison).toBeUndefined()
  })

  test('that cannot be judged is refused, and says what would do', () => {
    for (const text of [
      'device.heat > 1',
      'device.offline > 1',
      'device.powerW',
      'device.powerW > 12 dB',
      'device.powerW > 0.9 budget',
      'device.powerW > x',
      'powerW > 1',
      'device.powerW > 1 for ever',
      'device.offline for 90d',
    ])
      expect(() => parseCondition(text)).toThrow(/^Cannot read condition .* expected /)
  })

  test('can be about every metric that is listed', () => {
    const sources = { devices: [], live: () => undefined, budgets: new Map(), plan: undefined, rollouts: [] }
    const readings = readMetrics(sources)
    for (const { name, unit } of metrics) {
      expect(parseCondition(unit === undefined ? name : `${name} > 1`).metric.name).toBe(name)
      expect(Array.isArray(readings(name))).toBe(true)
    }
    // Of the fleet there is always something to say.
    expect(metrics.filter(({ scope }) => scope === 'fleet').map(({ name }) => readings(name).length)).toEqual([
      1, 1, 1, 1, 1,
    ])
  })
})

describe('a rule', () => {
  test('fires once when its condition held for long enough, and is resolved once beyond its hysteresis', () => {
    const rule = makeRule('device.powerW > 10 for 3s', { hysteresisShare: 0.1 })
    expect(play(rule, [11, 11, 9, 11, 11, 11, 11, 12, 12])).toEqual(['6 fired'])
    // Between 9 and 10 it is neither.
    expect(play(rule, [11, 11, 11, 11, 9.5, 10.5, 9.5, 8, 8, 8, 8, 8])).toEqual(['3 fired', '10 resolved'])
    expect(play(rule, [11, 11, 11, 11, 8, 8, 11, 8, 8, 11, 8])).toEqual(['3 fired'])
  })

  test('does not end where nothing is read, and does not begin there either', () => {
    const rule = makeRule('device.powerW > 10 for 2s')
    expect(play(rule, [11, 11, undefined, 11, 11, 11, undefined, undefined, undefined])).toEqual(['5 fired'])
  })

  test('compares with the budget of the moment, and with none where none is set', () => {
    const rule = makeRule('site.rateBps > 0.95 budget')
    expect(play(rule, [90, 96], 100)).toEqual(['1 fired'])
    expect(play(rule, [90, 96])).toEqual([])
  })

  test('tells people values of a size that they read, and programs numbers in SI units', () => {
    const rule = makeRule('device.rateBps > 0.03Mbit/s')
    const reading: Reading = { subject: 'cam-1', labels: { site: 'local' }, value: 30_570 }
    expect(evaluateRules([rule], () => [reading], [], 0).events).toMatchObject([
      {
        message: 'cam-1: device.rateBps > 0.03Mbit/s (30.6 kbit/s, threshold 30 kbit/s)',
        value: 30_570,
        threshold: 30_000,
        unit: 'bit/s',
      },
    ])
  })

  test('is about the devices of its selector, and lets go of those that it is not about any more', () => {
    const devices: Reading[] = ['a', 'b'].map((site, i) => ({ subject: `cam-${i}`, labels: { site }, isTrue: true }))
    const first = evaluateRules([makeRule('device.offline', { selector: 'site=a' })], () => devices, [], 0)
    expect(first.events).toMatchObject([{ subject: 'cam-0', event: 'fired', message: 'cam-0: device.offline' }])
    const moved = evaluateRules([makeRule('device.offline', { selector: 'site=b' })], () => devices, first.states, 1000)
    expect(moved.events.map(({ subject, event }) => `${subject} ${event}`)).toEqual(['cam-1 fired', 'cam-0 resolved'])
    const off = evaluateRules([makeRule('device.offline', { isEnabled: false })], () => devices, moved.states, 2000)
    expect(off).toMatchObject({ states: [], events: [{ subject: 'cam-1', event: 'resolved' }] })
  })
})

test('addresses that are not public are known, in every way to write them', () => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    '192.168.0.1',
    '100.64.0.1',
    '0.0.0.0',
    '::1',
    '::ffff:127.0.0.1',
    '::127.0.0.1',
    'fd00::1',
    'fe80::1',
    '64:ff9b::a00:1',
    '2002:7f00:1::',
    'localhost',
    '',
  ])
    expect([address, isPublicAddress(address)]).toEqual([address, false])
  for (const address of ['1.1.1.1', '8.8.8.8', '2606:4700::1111'])
    expect([address, isPublicAddress(address)]).toEqual([address, true])
})

test('secrets of the configuration are not said when they are wrong', () => {
  const wrong = () => loadConfig({ flags: { webhookSecret: 'hunter2' } })
  expect(wrong).toThrow(/webhookSecret/)
  expect(wrong).not.toThrow(/hunter2/)
  expect(() => loadConfig({ flags: { smtpUrl: 'http://user:hunter2@host' } })).not.toThrow(/hunter2/)
})

describe('the audit', () => {
  test('is added to and never altered, not even by whoever has the database open', () => {
    const path = join(temporaryFolder(), 'controller.sqlite')
    const store = openStore(path)
    store.budgets.change('fleet', { powerW: 4 }, 1000, { name: '_operator-kim', address: '10.0.0.7' })
    store.audit.add({ atMs: 2000, kind: 'command', action: 'pause', subject: 'cam-1/cam0', after: { command: 'x' } })
    const entries = store.audit.page({ limit: 10 })
    expect(entries.map(({ actor, address, kind, action, subject }) => [actor, address, kind, action, subject])).toEqual(
      [
        ['controller', undefined, 'command', 'pause', 'cam-1/cam0'],
        ['_operator-kim', '10.0.0.7', 'budget', 'set', 'fleet'],
      ],
    )
    expect(
      store.audit.page({ limit: 10, kind: 'budget', sinceMs: 500, untilMs: 1500, actor: '_operator-kim' }),
    ).toHaveLength(1)
    expect(store.audit.page({ limit: 10, before: 2 })).toHaveLength(1)
    store.close()
    const db = new Database(path)
    expect(() => db.exec("UPDATE audit SET actor = 'nobody'")).toThrow(/append-only/)
    expect(() => db.exec('DELETE FROM audit')).toThrow(/append-only/)
    db.close()
  })
})
