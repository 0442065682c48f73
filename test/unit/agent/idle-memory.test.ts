import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IdleBaseline } from '@espalier/agent/meter/idle-baseline'
import { IdleMemory } from '@espalier/agent/meter/idle-memory'
import type { TimeMark } from '@espalier/agent/time/time-mark'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'idle-'))
})
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

const NOV = Date.UTC(2026, 10, 29)
const first: TimeMark = { machineBoot: 'a', uptimeMs: 100_000, wallMs: NOV, clk: 'ntp' }

function start(mark: TimeMark, board = 'Pi 5') {
  const idle = new IdleBaseline()
  const errors: string[] = []
  const memory = new IdleMemory({
    dataDir,
    board,
    idle,
    mark: () => mark,
    monotonicMs: () => 1_000_000,
    onError: ({ message }) => errors.push(message),
  })
  return { idle, memory, errors }
}

/** Three quiet seconds at 3 W, a minute ago. */
function measure(idle: IdleBaseline): void {
  for (let s = 0; s < 3; s++)
    idle.observe({ source: 'pmic', joules: 3, seconds: 1, busyShare: 0.01, nowMs: 1_000_000 - 60_000 })
}

describe('IdleMemory', () => {
  test('keeps the idle power over a restart, with its age', () => {
    const before = start(first)
    measure(before.idle)
    before.memory.keep('15W')
    const after = start({ ...first, uptimeMs: 160_000 })
    expect(after.idle.of('pmic')).toMatchObject({ watts: 3, measuredAtMs: 1_000_000 - 120_000 })
    expect(after.idle.of('ina3221:VDD_IN')).toBeUndefined()
  })

  test('knows the age over a reboot by a clock that ran on, and forgets where none did', () => {
    const before = start(first)
    measure(before.idle)
    before.memory.save()
    const reboot: TimeMark = { machineBoot: 'b', uptimeMs: 5000, wallMs: NOV + 3_600_000, clk: 'rtc' }
    expect(start(reboot).idle.current?.measuredAtMs).toBe(1_000_000 - 60_000 - 3_600_000)
    expect(start({ ...reboot, clk: 'restored' }).idle.current).toBeUndefined()
  })

  test('forgets it on another board and in another power mode', () => {
    const before = start(first)
    before.memory.keep('15W')
    measure(before.idle)
    before.memory.keep('15W')
    expect(start(first, 'Pi 4').idle.current).toBeUndefined()

    const after = start(first)
    after.memory.keep(undefined)
    after.memory.keep('15W')
    expect(after.idle.current?.watts).toBe(3)
    after.memory.keep('MAXN')
    expect(after.idle.current).toBeUndefined()
  })

  test('starts without it when the file is damaged, and says so', () => {
    writeFileSync(join(dataDir, 'idle.json'), '{"version":1,"watts":')
    const { idle, errors } = start(first)
    expect(idle.current).toBeUndefined()
    expect(errors).toEqual([expect.stringMatching(/Cannot read idle power/)])
  })
})
