import { carbonIntensity, gramsOfCarbon } from '@espalier/agent/meter/carbon'
import { DifferenceCounter } from '@espalier/agent/meter/difference-counter'
import type { EnergyCounter } from '@espalier/agent/meter/energy-counter'
import { IdleBaseline } from '@espalier/agent/meter/idle-baseline'
import { Meter } from '@espalier/agent/meter/meter'
import { Pacer } from '@espalier/agent/meter/pacer'
import { defaultPowerModel, modelHalfWidthW } from '@espalier/agent/meter/power-model'
import { PowerSampler } from '@espalier/agent/meter/power-sampler'
import { slotIdSchema } from '@espalier/shared/ids'
import { studentT95 } from '@espalier/shared/student-t'
import { makeTrace, measureTrace } from 'espalier/bench/energy-traces'
import { seededRandom } from 'espalier/bench/seeded-random'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const SLOT = slotIdSchema.parse('cam0')
const OTHER = slotIdSchema.parse('cam1')
const MODEL = { idleW: 4, fullW: 12, uncertainty: 0.4 }
const SOURCE = { source: 'test', rail: 'all', scope: 'board', method: 'integral' } as const

class FakeClock {
  nowMs = 0
  monotonicMs = () => this.nowMs
  /** Jumps about, as a clock without a battery does: no joule may depend on it (jetson_stats #668). */
  wallMs = () => (this.nowMs * 7919) % 1e6
}

function fail(code: string): never {
  throw Object.assign(new Error(code), { code })
}

const use = (cam0: number, cam1: number, self: number, device: number) => ({
  slots: new Map([
    [SLOT, cam0],
    [OTHER, cam1],
  ]),
  self,
  device,
})

/** A meter over what `read` says, with the time of the returned clock. */
function openMeter(read?: () => number) {
  const clock = new FakeClock()
  const probe = read && { source: SOURCE, uncertainty: 0.05, periodMs: 10, read }
  const counter: EnergyCounter | undefined =
    probe && new PowerSampler(probe, { clock, random: () => 0.5, sampleHz: 100, maxCpuShare: 1 })
  const changes: boolean[] = []
  const meter = new Meter({
    counter: () => counter,
    model: MODEL,
    cores: 4,
    slots: [SLOT, OTHER],
    clock,
    onSensor: ({ isReadable }) => changes.push(isReadable),
  })
  const goTo = (endMs: number, stepMs = 10): void => {
    while (clock.nowMs < endMs) {
      clock.nowMs = Math.min(endMs, clock.nowMs + stepMs)
      void (counter as PowerSampler | undefined)?.sample()
    }
  }
  return { meter, clock, goTo, changes }
}

describe('Meter', () => {
  test('models what its processes add to an idle board, and divides it without rest', () => {
    const { meter, goTo } = openMeter()
    goTo(10_000)
    meter.sample(use(5, 2, 1, 30))

    // 2 W for each busy core, 4 W for the idle board, half of it for each slot.
    expect(meter.slot(SLOT)).toEqual({ joules: 30, idleJoules: 20 })
    expect(meter.slot(OTHER)).toEqual({ joules: 24, idleJoules: 20 })
    expect(meter.selfJoules).toBe(2)
    const [modelled] = meter.telemetry()
    expect(modelled).toMatchObject({ source: 'model:utilisation', scope: 'modelled', joules: 56, idleJoules: 40 })
    expect(modelled!.uncertainty).toBeGreaterThan(0.4)
  })

  test('divides measured joules by CPU time and leaves the work of others to them', () => {
    const { meter, goTo } = openMeter(() => 8)
    goTo(10_000)
    meter.sample(use(2, 0, 1, 10))

    const [measured, ...others] = meter.telemetry()
    expect(others).toEqual([])
    expect(measured!.joules).toBeCloseTo(80, 3)
    expect(measured!.idleJoules).toBeCloseTo(40, 3)
    expect(meter.slot(SLOT).joules).toBeCloseTo(28, 3)
    expect(meter.selfJoules).toBeCloseTo(4, 3)
  })

  test('books to the model what a failing sensor leaves out, tells it once, and nothing twice', () => {
    let isReadable = true
    const { meter, goTo, changes } = openMeter(() => (isReadable ? 8 : fail('EIO')))
    goTo(10_000)
    meter.sample(use(0, 0, 0, 0))
    isReadable = false
    for (const end of [15_000, 20_000]) {
      goTo(end)
      meter.sample(use(0, 0, 0, 0))
    }
    isReadable = true
    goTo(30_000)
    meter.sample(use(0, 0, 0, 0))
    goTo(31_000)
    meter.sample(use(0, 0, 0, 0))

    expect(changes).toEqual([false, true])
    const [measured, modelled] = meter.telemetry()
    expect(measured!.joules).toBeCloseTo(8 * 21, 0)
    expect(modelled!.joules).toBeCloseTo(4 * 10, 0)
    expect(measured!.coverage + modelled!.coverage).toBeCloseTo(1, 3)
    expect(measured!.failures).toBeGreaterThan(900)
  })

  test('never extends a reading over a time in which it did not look', () => {
    const { meter, clock, goTo } = openMeter(() => 8)
    goTo(1000)
    meter.sample(use(0, 0, 0, 0))
    // Fifteen seconds from one reading of ten milliseconds were wrong by a factor of a hundred (codecarbon #117).
    clock.nowMs = 16_000
    meter.sample(use(0, 0, 0, 0))
    const [measured, modelled] = meter.telemetry()
    expect(measured!.joules).toBeCloseTo(8, 1)
    expect(modelled!.joules).toBeCloseTo(4 * 15, 1)
  })

  test('gives slots and itself exactly what the device used, whatever they did', () => {
    // With no work at all, what was measured above idle is the work of others.
    const seconds = fc.double({ min: 0.001, max: 4, noNaN: true })
    const step = fc.record({
      cam0: seconds,
      cam1: seconds,
      self: seconds,
      watts: fc.option(fc.double({ min: 0, max: 20, noNaN: true })),
      elapsedMs: fc.integer({ min: 1, max: 5000 }),
    })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
        let power: number | null = 5
        const { meter, clock, goTo } = openMeter(() => power ?? fail('EAGAIN'))
        let [a, b, self] = [0, 0, 0]
        for (const { cam0, cam1, self: own, watts, elapsedMs } of steps) {
          power = watts
          goTo(clock.nowMs + elapsedMs, 100)
          a += cam0
          b += cam1
          self += own
          meter.sample(use(a, b, self, 0))
        }
        const device = meter.telemetry().reduce((sum, { joules }) => sum + joules, 0)
        const divided = meter.slot(SLOT).joules + meter.slot(OTHER).joules + meter.selfJoules
        expect(divided).toBeCloseTo(device, 6)
      }),
      { seed: 5, numRuns: 50 },
    )
  })
})

describe('intervals', () => {
  test.each(['constant', 'steps', 'ripple', 'in step'] as const)('cover the truth of a %s load', (kind) => {
    const random = seededRandom(2026)
    const runs = 250
    let covered = 0
    for (let i = 0; i < runs; i++) {
      const { window, truthJ } = measureTrace(makeTrace(kind, random), { windowS: 1, sampleHz: 100, random })
      if (truthJ >= window.interval[0] && truthJ <= window.interval[1]) covered++
      expect(window.samplingJ).toBeLessThan(0.2 * truthJ)
    }
    expect(covered / runs).toBeGreaterThanOrEqual(0.93)
  })

  test('widen as Student says', () => {
    expect([1, 2, 5, 30].map(studentT95).map((t) => Number(t.toFixed(2)))).toEqual([12.71, 4.3, 2.57, 2.04])
  })
})

describe('DifferenceCounter', () => {
  const RANGE_J = 262143.32885
  function open(read: () => number) {
    const clock = new FakeClock()
    const probe = {
      source: { ...SOURCE, method: 'counter' as const },
      uncertainty: 0,
      periodMs: 1000,
      isLocal: true,
      rangesJ: [RANGE_J],
      read: () => [read()],
    }
    const counter = new DifferenceCounter(probe, { clock, random: () => 0.5, maxCpuShare: 1 })
    counter.begin(0)
    return { counter, clock }
  }

  test('counts on when the counter wraps, and not when it was reset', () => {
    let joules = 262143
    const { counter, clock } = open(() => joules)
    const next = (value: number) => {
      joules = value
      clock.nowMs += 1000
      return counter.take(clock.nowMs)
    }
    expect(next(0.5).joules).toBeCloseTo(0.82885, 5)
    expect(next(5)).toMatchObject({ joules: 4.5, knownMs: 1000, missingMs: 0 })
    // Falling from 5 J to 1 J as a wrap would be 262 kJ in a second.
    expect(next(1)).toMatchObject({ joules: 0, missingMs: 1000, failure: expect.stringContaining('reset') })
    expect(next(2)).toMatchObject({ joules: 1, failure: undefined })
  })

  test('does not book again what passed while it could not be read', () => {
    let joules = 0
    const { counter, clock } = open(() => (joules < 0 ? fail('EIO') : joules))
    const at = (ms: number, value: number) => {
      clock.nowMs = ms
      joules = value
      return counter.take(ms)
    }
    expect(at(1000, 5).joules).toBe(5)
    expect(at(2000, -1)).toMatchObject({ joules: 0, missingMs: 1000, failures: 1 })
    expect(at(3000, 15)).toMatchObject({ joules: 0, missingMs: 1000 })
    expect(at(4000, 20)).toMatchObject({ joules: 5, missingMs: 0 })
  })
})

test('Pacer slows down rather than cost more than its share of a core', async () => {
  const clock = new FakeClock()
  const pacer = new Pacer({ periodMs: 10, maxCpuShare: 0.01, clock, random: () => 0 })
  const stopping = new AbortController()
  expect(pacer.periodMs).toBe(10)
  await pacer.run(stopping.signal, () => {
    clock.nowMs += 50
    stopping.abort()
    return undefined
  })
  expect(pacer.periodMs).toBeGreaterThanOrEqual(500)
  expect(pacer.costShare).toBeCloseTo(0.01, 6)
})

test('IdleBaseline is measured in quiet times alone, and of another sensor it knows nothing', () => {
  const idle = new IdleBaseline()
  const interval = { source: 'a', seconds: 1 }
  idle.observe({ ...interval, joules: 9, busyShare: 0.5, nowMs: 1000 })
  idle.observe({ ...interval, joules: 3, busyShare: 0.01, nowMs: 2000 })
  idle.observe({ ...interval, joules: 3.5, busyShare: 0.02, nowMs: 3000 })
  expect(idle.current).toBeUndefined()
  idle.observe({ ...interval, joules: 2.5, busyShare: 0, nowMs: 4000 })
  idle.observe({ ...interval, joules: 12, busyShare: 1, nowMs: 5000 })
  expect(idle.of('a')).toMatchObject({ watts: 3, seconds: 3, measuredAtMs: 4000 })
  expect(idle.of('b')).toBeUndefined()
})

test('carbonIntensity() says where its figure comes from', () => {
  expect(carbonIntensity('DEU')).toEqual({ gramsPerKwh: 381, source: 'table:DEU', year: 2023 })
  expect(gramsOfCarbon(3.6e6, carbonIntensity(400))).toBe(400)
})

test('modelHalfWidthW() is widest in between, where curves of boards differ', () => {
  const relative = (share: number) => modelHalfWidthW(MODEL, share) / (4 + 8 * share)
  expect(relative(0)).toBeCloseTo(0.4, 6)
  expect(relative(0.3)).toBeGreaterThan(relative(1))
})

test('defaultPowerModel() knows boards by name, then by kind, and says how little it knows of others', () => {
  const pi = defaultPowerModel({ model: 'Raspberry Pi 5 Model B Rev 1.0', arch: 'arm64', cores: 4 })
  const kind = defaultPowerModel({ model: 'unknown', arch: 'arm64', cores: 4 })
  const other = defaultPowerModel({ model: 'unknown', arch: 'riscv64', cores: 4 })

  expect(pi).toEqual({ idleW: 3.3, fullW: 10, uncertainty: 0.4 })
  expect(kind.uncertainty).toBeGreaterThan(pi.uncertainty)
  expect(other.uncertainty).toBeGreaterThan(kind.uncertainty)
})
