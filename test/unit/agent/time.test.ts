import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ledger, type OwnCost } from '@espalier/agent/ledger/ledger'
import { paceTelemetry } from '@espalier/agent/ledger/pace-telemetry'
import { commandsOf } from '@espalier/agent/sensors/run-command'
import type { SystemFiles } from '@espalier/agent/sensors/system-files'
import { countBoot } from '@espalier/agent/time/boot-counter'
import { ClockWatch, clockQuality } from '@espalier/agent/time/clock-watch'
import { elapsedMs, type TimeMark } from '@espalier/agent/time/time-mark'
import { fileCalls } from '@espalier/agent/twin/atomic-file'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const NOV = Date.UTC(2026, 10, 20)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'time-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('clockQuality()', () => {
  const evidence = { isSynchronised: false, hasClockChip: false, wallMs: NOV, knownWallMs: 0 }

  test('tells apart clocks that are set by servers, by a battery, by what was saved, and not at all', () => {
    expect(clockQuality({ ...evidence, isSynchronised: true })).toBe('ntp')
    expect(clockQuality({ ...evidence, hasClockChip: true })).toBe('rtc')
    expect(clockQuality({ ...evidence, knownWallMs: NOV - 1 })).toBe('restored')
    expect(clockQuality(evidence)).toBe('none')
  })

  test('does not believe a chip whose battery is flat, or one that went back', () => {
    expect(clockQuality({ ...evidence, hasClockChip: true, wallMs: 0 })).toBe('none')
    expect(clockQuality({ ...evidence, hasClockChip: true, knownWallMs: NOV + 86_400_000 })).toBe('none')
  })
})

test('ClockWatch asks again until the clock is set, and no command that fails stops it', async () => {
  let [nowMs, answer] = [0, async (): Promise<string> => Promise.reject(new Error('no such command'))]
  const watch = new ClockWatch({
    root: '/',
    files: {
      list: () => ['rtc0'],
      read(path) {
        if (path.endsWith('hctosys')) return '1\n'
        throw Object.assign(new Error('no'), { code: 'ENOENT' })
      },
    },
    run: () => answer(),
    wallMs: () => NOV,
    monotonicMs: () => nowMs,
    knownWallMs: 0,
  })
  await watch.refresh()
  expect(watch.quality).toBe('rtc')
  answer = async () => 'yes\n'
  await watch.refresh()
  expect(watch.quality).toBe('rtc')
  nowMs = 60_000
  await watch.refresh()
  expect(watch.quality).toBe('ntp')
})

test('ClockWatch of a copied tree asks what was recorded there, not this machine', async () => {
  const files: SystemFiles = {
    list: () => [],
    read: () => {
      throw Object.assign(new Error('no'), { code: 'ENOENT' })
    },
  }
  const run = commandsOf(files, '/copy', async () => 'yes')
  const options = { files, wallMs: () => NOV, monotonicMs: () => 0, knownWallMs: 0 }
  const copied = new ClockWatch({ ...options, root: '/copy', run })
  const own = new ClockWatch({ ...options, root: '/', run: commandsOf(files, '/', async () => 'yes') })
  await Promise.all([copied.refresh(), own.refresh()])
  expect([copied.quality, own.quality]).toEqual(['none', 'ntp'])
})

test('elapsedMs() does not see wall clocks that jump while the machine runs', () => {
  const from: TimeMark = { machineBoot: 'a', uptimeMs: 1000, wallMs: NOV, clk: 'ntp' }
  expect(elapsedMs(from, { ...from, uptimeMs: 3000, wallMs: 0 })).toBe(2000)
  expect(elapsedMs(from, { ...from, machineBoot: 'b', uptimeMs: 0, wallMs: NOV + 7000 })).toBe(7000)
  expect(
    elapsedMs(from, { ...from, machineBoot: 'b', uptimeMs: 0, wallMs: NOV + 7000, clk: 'restored' }),
  ).toBeUndefined()
})

test('countBoot() counts over restarts, and says when it cannot', () => {
  const errors: unknown[] = []
  const count = (wallMs: number, calls = fileCalls) =>
    countBoot(folder, wallMs, { calls, onError: (error) => errors.push(error) })
  expect(count(NOV)).toEqual({ bootNumber: 1, knownWallMs: 0 })
  // The clock was lost meanwhile: what was known stays known.
  expect(count(0)).toEqual({ bootNumber: 2, knownWallMs: NOV })
  expect(count(5)).toEqual({ bootNumber: 3, knownWallMs: NOV })
  const full = {
    ...fileCalls,
    write: () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    },
  }
  expect(count(5, full).bootNumber).toBeUndefined()
  writeFileSync(join(folder, 'boot.json'), '{"boots":')
  expect(count(5).bootNumber).toBeUndefined()
  expect(errors).toHaveLength(2)
})

describe('Ledger', () => {
  let [monotonicMs, wallMs] = [0, NOV]
  let clk: 'ntp' | 'none' = 'ntp'
  let writes = 0
  const open = (): Ledger =>
    new Ledger({
      dataDir: folder,
      monotonicMs: () => monotonicMs,
      wallMs: () => wallMs,
      clk: () => clk,
      onError: (error) => {
        throw error
      },
      calls: {
        ...fileCalls,
        rename(from, to) {
          writes++
          fileCalls.rename(from, to)
        },
      },
    })
  const cost = (txBytes: number): OwnCost => ({ txBytes, rxBytes: 10, selfJoules: 2 * txBytes })

  beforeEach(() => {
    ;[monotonicMs, wallMs, clk, writes] = [0, NOV, 'ntp', 0]
  })

  test('adds up over restarts, and starts anew with the month', () => {
    const first = open()
    first.note(cost(100))
    first.save()
    const second = open()
    second.note(cost(50))
    expect(second.view()).toMatchObject({ ...cost(50), monthBytes: 170, monthJoules: 300 })
    wallMs = Date.UTC(2026, 11, 1)
    second.note(cost(80))
    expect(second.view()).toMatchObject({ ...cost(80), monthBytes: 30, monthJoules: 60 })
  })

  test('stays in its month while there is no clock', () => {
    const ledger = open()
    ledger.note(cost(100))
    clk = 'none'
    wallMs = 0
    ledger.note(cost(120))
    expect(ledger.view().monthBytes).toBe(130)
  })

  test('writes a hundred times a day, not every second', () => {
    const ledger = open()
    for (; monotonicMs < 86_400_000; monotonicMs += 1000) ledger.note(cost(monotonicMs / 1000))
    expect(writes).toBeLessThanOrEqual(96)
    expect(writes).toBeGreaterThan(90)
  })
})

test('paceTelemetry() says less near the cap of a month, and almost nothing above it', () => {
  expect([0, 790, 800, 1000].map((used) => paceTelemetry(1, used, 1000))).toEqual([1, 1, 300, 3600])
  expect(paceTelemetry(1, 1e12, undefined)).toBe(1)
})
