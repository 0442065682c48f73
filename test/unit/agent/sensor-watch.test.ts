import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Meter, MODEL_SOURCE } from '@espalier/agent/meter/meter'
import { recordedCommands } from '@espalier/agent/sensors/run-command'
import { SensorWatch } from '@espalier/agent/sensors/sensor-watch'
import { readNumberOften } from '@espalier/agent/sensors/system-files'
import { systemFiles } from '@espalier/agent/sensors/this-system-files'
import { systemClock } from '@espalier/shared/clock'
import type { SlotId } from '@espalier/shared/ids'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const FIXTURES = join(import.meta.dirname, '../../fixtures/agent')
/** Open files are looked up anew after this. */
const KEPT_MS = 1100

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'sensors-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function writeBattery(status: string): void {
  const folder = join(root, 'sys/class/power_supply/BAT0')
  mkdirSync(folder, { recursive: true })
  const files = { type: 'Battery', status, power_now: '8420000' }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), `${text}\n`)
}

const plugInJetson = (): void => cpSync(join(FIXTURES, 'orin-nano-jp6'), root, { recursive: true })

/** A meter on a tree that changes, as the agent has it. */
async function openMeter() {
  const events: DeviceEvent[] = []
  const watch = new SensorWatch({
    surroundings: { root, files: systemFiles, run: recordedCommands(systemFiles, root) },
    pmic: undefined,
    plug: undefined,
    sampling: { clock: systemClock, random: Math.random, sampleHz: 100, maxCpuShare: 1 },
    onEvent: (event) => events.push(event),
  })
  await watch.open()
  const meter = new Meter({
    counter: () => watch.counter,
    model: { idleW: 3, fullW: 6, uncertainty: 0.4 },
    cores: 4,
    slots: ['cam0' as SlotId],
    clock: systemClock,
    onSensor: ({ isReadable }) => events.push({ kind: isReadable ? 'sensor-back' : 'sensor-lost', message: '' }),
  })
  const sample = async (): Promise<number> => {
    await delay(60)
    meter.sample({ slots: new Map(), self: 0, device: 0 })
    return meter.mark().joules
  }
  return { watch, meter, events, sample, kinds: () => events.map(({ kind }) => kind) }
}

describe('SensorWatch', () => {
  test('takes a sensor that appears after the start, without a jump in joules, and says so', async () => {
    const { watch, meter, events, sample } = await openMeter()
    const before = await sample()
    expect(watch.counter).toBeUndefined()

    plugInJetson()
    await watch.look()
    const between = await sample()
    const stopping = new AbortController()
    void watch.run(stopping.signal)
    const after = [await sample(), await sample()]
    stopping.abort()

    expect(events).toMatchObject([{ kind: 'sensor-changed', message: expect.stringMatching(/ina3221:VDD_IN.*model/) }])
    const { atMs, joules } = meter.mark()
    // 3 W of the model, then 4.73 W: never more than the sensor's power over all the time, never less than the model's.
    expect([before, between, ...after]).toEqual([before, between, ...after].toSorted((a, b) => a - b))
    const seconds = meter
      .telemetry()
      .reduce((sum, { joules: each, source }) => sum + each / (source === MODEL_SOURCE.source ? 3 : 4.7295), 0)
    expect(joules / seconds).toBeGreaterThan(3)
    expect(joules / seconds).toBeLessThan(4.73)
    expect(meter.telemetry().map(({ source }) => source)).toEqual([MODEL_SOURCE.source, 'ina3221:VDD_IN'])
    expect(atMs).toBeLessThanOrEqual(systemClock.monotonicMs())
  })

  test('falls back to the model when the sensor vanishes, and finds it again under another number', async () => {
    plugInJetson()
    const { watch, meter, events, sample } = await openMeter()
    const stopping = new AbortController()
    void watch.run(stopping.signal)
    await sample()

    renameSync(join(root, 'sys/class/hwmon'), join(root, 'gone'))
    await delay(KEPT_MS)
    await watch.look()
    expect(watch.counter).toBeUndefined()
    await sample()
    mkdirSync(join(root, 'sys/class/hwmon'))
    renameSync(join(root, 'gone/hwmon1'), join(root, 'sys/class/hwmon/hwmon7'))
    await watch.look()
    const [before, after] = [await sample(), await sample()]
    stopping.abort()

    expect(watch.counter?.source.source).toBe('ina3221:VDD_IN')
    expect(after).toBeGreaterThan(before)
    expect(events.filter(({ kind }) => kind === 'sensor-changed')).toHaveLength(2)
    // One account for one source, however often it came back.
    expect(meter.telemetry().filter(({ source }) => source === 'ina3221:VDD_IN')).toHaveLength(1)
  })

  test('prefers a better sensor that comes later, and keeps the one it reads through a moment in which another fails', async () => {
    writeBattery('Discharging')
    const { watch, kinds } = await openMeter()
    expect(watch.counter?.source.source).toBe('battery:BAT0')
    plugInJetson()
    await watch.look()
    expect(watch.counter?.source.source).toBe('ina3221:VDD_IN')
    const counter = watch.counter
    writeBattery('Charging')
    await watch.look()
    expect(watch.counter).toBe(counter)
    expect(kinds()).toEqual(['sensor-changed'])
  })
})

test('readNumberOften() reads anew each time, and notices that a file was replaced or has gone', async () => {
  const path = join(root, 'value')
  writeFileSync(path, '4968\n')
  expect(readNumberOften(systemFiles, path)).toBe(4968)
  writeFileSync(path, '32760 ma\n')
  expect(readNumberOften(systemFiles, path)).toBe(32760)
  for (const text of ['-12\n', '0', '1234567890123456789\n', '12.5\n']) {
    writeFileSync(path, text)
    expect(readNumberOften(systemFiles, path)).toBe(Number(text))
  }
  writeFileSync(path, '-\n')
  expect(() => readNumberOften(systemFiles, path)).toThrow(/found "-", expected a number/)
  writeFileSync(path, '\n')
  expect(() => readNumberOften(systemFiles, path)).toThrow(/found "", expected a number/)
  writeFileSync(`${path}.new`, '7\n')
  renameSync(`${path}.new`, path)
  await delay(KEPT_MS)
  expect(readNumberOften(systemFiles, path)).toBe(7)
  rmSync(path)
  await delay(KEPT_MS)
  expect(() => readNumberOften(systemFiles, path)).toThrow(/ENOENT/)
})
