import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EnergyCounter } from '@espalier/agent/meter/energy-counter'
import { Meter, type MeterOptions } from '@espalier/agent/meter/meter'
import { defaultPowerModel } from '@espalier/agent/meter/power-model'
import { findRapl, type RaplFinding } from '@espalier/agent/meter/rapl'
import type { SystemFiles } from '@espalier/agent/sensors/system-files'
import { slotIdSchema } from '@espalier/shared/ids'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const FIXTURES = join(import.meta.dirname, '../../fixtures/agent')
const RANGE_UJ = 262143328850

/** The fixture tree, with chosen files answering otherwise: a number, or an error by its code. */
function files(answers: Record<string, string | (() => string)> = {}): SystemFiles {
  return {
    list: (path) => readdirSync(path),
    read: (path) => {
      const found = Object.entries(answers).find(([end]) => path.endsWith(end))?.[1]
      if (found === undefined) return readFileSync(path, 'utf8')
      return typeof found === 'string' ? found : found()
    },
  }
}

function failWith(code: string): () => never {
  return () => {
    throw Object.assign(new Error(code), { code })
  }
}

function countersOf(finding: RaplFinding): readonly EnergyCounter[] {
  if (finding.kind !== 'found') throw new Error(`found ${finding.kind}`)
  return finding.counters
}

describe('findRapl()', () => {
  test('takes each package once, although it shows up twice, and no rail inside it', () => {
    const counters = countersOf(findRapl(join(FIXTURES, 'good-rapl')))
    expect(counters.map(({ source }) => source)).toEqual([
      { source: 'rapl:package-0', rail: 'package-0', scope: 'module', method: 'counter' },
    ])
  })

  test('prefers psys, by name and not by index', () => {
    const counters = countersOf(findRapl(join(FIXTURES, 'psys-rapl')))
    expect(counters.map(({ source }) => [source.rail, source.scope])).toEqual([['psys', 'board']])
  })

  test('tells a machine without counters from one whose counters may not be read', () => {
    expect(findRapl(join(FIXTURES, 'no-such-tree'))).toEqual({ kind: 'absent' })
    const locked = findRapl(join(FIXTURES, 'good-rapl'), files({ energy_uj: failWith('EACCES') }))
    expect(locked).toMatchObject({ kind: 'unreadable', reason: expect.stringContaining('EACCES') })
  })

  test('counts on when the counter wraps, and not when it was reset', () => {
    let microjoules = 262143000000
    const read = (): string => `${microjoules}\n`
    const [counter] = countersOf(findRapl(join(FIXTURES, 'good-rapl'), files({ 'intel-rapl:0/energy_uj': read })))
    expect(counter!.take(0)).toBeUndefined()
    microjoules = 500000
    expect(counter!.take(1000)).toBeCloseTo(0.82885, 9)
    microjoules = 5_000_000
    expect(counter!.take(2000)).toBeCloseTo(4.5, 9)
    // Falling from 5 J to 1 J as a wrap would be 262 kJ in a second.
    microjoules = 1_000_000
    expect(counter!.take(3000)).toBeUndefined()
    microjoules = 2_000_000
    expect(counter!.take(4000)).toBeCloseTo(1, 9)
  })

  test('adds up to what was used, wherever the counter wraps', () => {
    const steps = fc.array(fc.integer({ min: 0, max: 900_000_000 }), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: RANGE_UJ - 1 }), (used, start) => {
        let total = start
        const read = (): string => `${total % RANGE_UJ}`
        const [counter] = countersOf(findRapl(join(FIXTURES, 'good-rapl'), files({ 'intel-rapl:0/energy_uj': read })))
        counter!.take(0)
        let joules = 0
        for (const [i, step] of used.entries()) {
          total += step
          joules += counter!.take((i + 1) * 1000) ?? Number.NaN
        }
        expect(joules).toBeCloseTo((total - start) / 1e6, 3)
      }),
    )
  })
})

const SLOT = slotIdSchema.parse('cam0')
const OTHER = slotIdSchema.parse('cam1')
const MODEL = { idleW: 4, fullW: 12, uncertainty: 0.4 }

function openMeter(changes: Partial<MeterOptions> = {}): Meter {
  return new Meter({
    counters: [],
    model: MODEL,
    cores: 4,
    slots: [SLOT, OTHER],
    startMs: 0,
    onSensor: () => undefined,
    ...changes,
  })
}

const use = (cam0: number, cam1: number, self: number, device: number) => ({
  slots: new Map([
    [SLOT, cam0],
    [OTHER, cam1],
  ]),
  self,
  device,
})

describe('Meter', () => {
  test('models what its processes add to an idle board, and divides it without rest', () => {
    const meter = openMeter()
    meter.sample(10_000, use(5, 2, 1, 30))

    // 2 W for each busy core, 4 W for the idle board, half of it for each slot.
    expect(meter.slot(SLOT)).toEqual({ joules: 30, idleJoules: 20 })
    expect(meter.slot(OTHER)).toEqual({ joules: 24, idleJoules: 20 })
    expect(meter.selfJoules).toBe(2)
    expect(meter.telemetry(10_000)).toEqual([
      {
        source: 'model:utilisation',
        rail: 'board',
        scope: 'modelled',
        method: 'model',
        joules: 56,
        idleJoules: 40,
        uncertainty: 0.4,
        coverage: 1,
        rateHz: 0.1,
      },
    ])
  })

  test('divides measured joules by CPU time and leaves the work of others to them', () => {
    let total = 0
    const source = { source: 'rapl:psys', rail: 'psys', scope: 'board', method: 'counter' } as const
    const counter = { source, uncertainty: 0.05, take: () => total }
    const meter = openMeter({ counters: [counter] })
    total = 80
    meter.sample(10_000, use(2, 0, 1, 10))

    expect(meter.telemetry(10_000)).toMatchObject([{ source: 'rapl:psys', joules: 80, idleJoules: 40, coverage: 1 }])
    expect(meter.slot(SLOT)).toEqual({ joules: 28, idleJoules: 20 })
    expect(meter.selfJoules).toBe(4)
  })

  test('falls back to the model while a sensor cannot be read, tells it once, and never books nothing', () => {
    let isReadable = true
    const changes: boolean[] = []
    const source = { source: 'rapl:psys', rail: 'psys', scope: 'board', method: 'counter' } as const
    const take = (): number => (isReadable ? 50 : failWith('EIO')())
    const meter = openMeter({
      counters: [{ source, uncertainty: 0.05, take }],
      onSensor: (change) => changes.push(change.isReadable),
    })
    meter.sample(10_000, use(1, 1, 0, 2))
    isReadable = false
    meter.sample(20_000, use(2, 2, 0, 4))
    meter.sample(30_000, use(3, 3, 0, 6))
    isReadable = true
    meter.sample(40_000, use(4, 4, 0, 8))

    expect(changes).toEqual([false, true])
    const [measured, modelled] = meter.telemetry(40_000)
    expect(measured).toMatchObject({ joules: 100, coverage: 0.5 })
    expect(modelled).toMatchObject({ joules: 2 * (40 + 2 * 2), coverage: 0.5 })
  })

  test('gives slots and itself exactly what the device used, whatever they did', () => {
    const seconds = fc.double({ min: 0, max: 4, noNaN: true })
    const step = fc.record({
      cam0: seconds,
      cam1: seconds,
      self: seconds,
      elapsedMs: fc.integer({ min: 1, max: 5000 }),
    })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
        const meter = openMeter()
        let [now, a, b, self] = [0, 0, 0, 0]
        for (const { cam0, cam1, self: own, elapsedMs } of steps) {
          now += elapsedMs
          a += cam0
          b += cam1
          self += own
          meter.sample(now, use(a, b, self, 0))
        }
        const device = meter.telemetry(now).reduce((sum, { joules }) => sum + joules, 0)
        const divided = meter.slot(SLOT).joules + meter.slot(OTHER).joules + meter.selfJoules
        expect(divided).toBeCloseTo(device, 6)
      }),
    )
  })
})

test('defaultPowerModel() knows boards by name, then by kind, and says how little it knows of others', () => {
  const pi = defaultPowerModel({ model: 'Raspberry Pi 5 Model B Rev 1.0', arch: 'arm64', cores: 4 })
  const kind = defaultPowerModel({ model: 'unknown', arch: 'arm64', cores: 4 })
  const other = defaultPowerModel({ model: 'unknown', arch: 'riscv64', cores: 4 })

  expect(pi).toEqual({ idleW: 3.3, fullW: 10, uncertainty: 0.4 })
  expect(kind.uncertainty).toBeGreaterThan(pi.uncertainty)
  expect(other.uncertainty).toBeGreaterThan(kind.uncertainty)
})
