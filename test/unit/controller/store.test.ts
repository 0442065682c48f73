import { fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { RowMargins } from '@espalier/controller/estimate/row-margins'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { openStore } from '@espalier/controller/store/open-store'
import { StoreError } from '@espalier/shared/errors'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { configuration, DEVICE, envelope, makeTelemetry, temporaryFolder } from './controller-fixtures.ts'

const body = { telemetryIntervalS: 1, slots: [] }
const counted = (frames: number) =>
  makeTelemetry(configuration, { frames, bits: 10 * frames, joules: frames, idleJoules: 0, seconds: frames })

describe('the store', () => {
  test('gives ever higher generations, across restarts and beyond what a device has seen', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    const first = openStore(path)
    const gens = [first.desired.commit(DEVICE, body).gen, first.desired.commit(DEVICE, body).gen]
    first.close()
    const second = openStore(path)
    gens.push(second.desired.commit(DEVICE, body).gen)
    second.desired.raiseTo(100)
    second.desired.raiseTo(50)
    gens.push(second.desired.commit(DEVICE, body).gen)
    second.close()
    expect(gens).toEqual([1, 2, 3, 101])
  })

  test('keeps how wide bounds must be, across restarts', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    const first = openStore(path)
    const margins = new RowMargins(first.bounds.load()?.rows)
    margins.learn('fleet', { miss: 0.2, isViolated: true, predicted: 0.001 }, 0)
    first.bounds.save({ latencyK: 3.25, rows: margins.learned })
    first.close()
    const second = openStore(path)
    expect(Fleet.load(second).beliefs.latencyK).toBe(3.25)
    expect(new RowMargins(second.bounds.load()?.rows).shareOf('fleet')).toBe(margins.shareOf('fleet'))
    expect(margins.shareOf('fleet')).not.toBe(new RowMargins().shareOf('fleet'))
    second.close()
  })

  test('has a generation on disk when its commit returns, even if the process is killed at that moment', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'c.sqlite')
    const script = join(folder, 'commit.mjs')
    const module = new URL('../../../controller/dist/store/open-store.js', import.meta.url).href
    writeFileSync(
      script,
      `import { openStore } from ${JSON.stringify(module)}
       const store = openStore(process.argv[2])
       for (;;) process.send(store.desired.commit('cam-1', ${JSON.stringify(body)}).gen)`,
    )
    const child = fork(script, [path], { execArgv: [] })
    let last = 0
    child.on('message', (gen: number) => {
      last = gen
      if (gen >= 20) child.kill('SIGKILL')
    })
    await new Promise((resolve) => child.once('exit', resolve))
    const store = openStore(path)
    expect(last).toBeGreaterThanOrEqual(20)
    expect(store.desired.list().get(DEVICE)!.gen).toBeGreaterThanOrEqual(last)
    expect(store.desired.commit(DEVICE, body).gen).toBeGreaterThan(last)
    store.close()
  })

  test('counts across boots in any order, ignores what is repeated or late, and never goes back', () => {
    const store = openStore(join(temporaryFolder(), 'c.sqlite'))
    const send = (boot: string, seq: number, frames: number) => {
      const message = envelope(counted(frames), { boot, seq })
      store.boots.note(DEVICE, message, undefined)
      return store.telemetry.accumulate(DEVICE, message, seq) && store.telemetry.totals(DEVICE)!.slots[0]?.frames
    }
    expect(send('one', 1, 10)).toBe(10)
    expect(send('one', 5, 30)).toBe(30)
    expect(send('one', 5, 99)).toBeUndefined()
    expect(send('one', 3, 20)).toBeUndefined()
    expect(send('two', 1, 4)).toBe(34)
    expect(send('one', 4, 25)).toBeUndefined()
    expect(send('two', 2, 3)).toBe(34)
    expect(send('one', 9, 60)).toBe(64)
    expect(send('two', 3, 6)).toBe(66)
    expect(store.telemetry.totals(DEVICE)!.slots[0]).toMatchObject({ frames: 66, bits: 660, joules: 66 })
    store.close()
  })

  test('keeps budgets and the audit of their changes', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    const store = openStore(path)
    store.budgets.change('site:a', { rateBps: 1000 }, 1)
    store.budgets.change('site:a', { rateBps: 500 }, 2)
    store.budgets.change('fleet', { powerW: 4.5 }, 3)
    store.budgets.change('site:a', undefined, 4)
    store.close()
    const again = openStore(path)
    expect([...again.budgets.list()]).toEqual([['fleet', { powerW: 4.5 }]])
    expect(again.budgets.audit(10).map(({ key, before, after }) => [key, before?.rateBps, after?.rateBps])).toEqual([
      ['site:a', 500, undefined],
      ['fleet', undefined, undefined],
      ['site:a', 1000, 500],
      ['site:a', undefined, 1000],
    ])
    again.close()
  })

  test('refuses a corrupt file with a StoreError that says what to do', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    writeFileSync(path, 'this is not a database at all, whatever its name says'.repeat(50))
    expect(() => openStore(path)).toThrow(StoreError)
    expect(() => openStore(path)).toThrow(/Cannot open database/)
  })

  test('refuses a database that a newer controller wrote', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    openStore(path).close()
    const db = new Database(path)
    db.pragma('user_version = 99')
    db.close()
    expect(() => openStore(path)).toThrow(/found version 99/)
  })

  test('answers a write that the disk refuses with a retryable StoreError and keeps the old state', () => {
    const path = join(temporaryFolder(), 'c.sqlite')
    const store = openStore(path)
    store.desired.commit(DEVICE, body)
    const blocker = new Database(path)
    blocker.pragma('busy_timeout = 0')
    blocker.exec('BEGIN IMMEDIATE')
    try {
      store.budgets.change('fleet', { powerW: 1 }, 1)
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'STORE', retryable: true })
    }
    blocker.exec('ROLLBACK')
    blocker.close()
    expect(store.budgets.list().size).toBe(0)
    expect(store.desired.commit(DEVICE, body).gen).toBe(2)
    store.close()
  })
})
