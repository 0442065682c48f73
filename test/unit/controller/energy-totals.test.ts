import { join } from 'node:path'
import { addTelemetry, holdCounters } from '@espalier/controller/ingest/counters'
import { energyOf } from '@espalier/controller/ingest/energy-source'
import { windowBetween } from '@espalier/controller/ingest/window'
import { openStore } from '@espalier/controller/store/open-store'
import type { Telemetry } from '@espalier/shared/messages/device'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { configuration, DEVICE, envelope, makeTelemetry, SLOT, temporaryFolder } from './controller-fixtures.ts'

const SENSOR = { source: 'ina3221:VDD_IN', rail: 'VDD_IN', scope: 'module', method: 'integral' } as const
const MODEL = { source: 'model:utilisation', rail: 'board', scope: 'modelled', method: 'model' } as const

/** Telemetry of a device whose sensor was blind now and then: the model has the joules of that time. */
function withGaps(sensorJ: number, modelJ: number, gramsPerKwh = 400): Telemetry {
  const common = { uncertainty: 0.1, coverage: 0.5, rateHz: 1 }
  const joules = sensorJ + modelJ
  return {
    ...makeTelemetry(configuration, { frames: 10, bits: 100, joules, idleJoules: joules / 2, seconds: 10 }),
    energy: [
      { ...SENSOR, ...common, joules: sensorJ, idleJoules: sensorJ / 2 },
      { ...MODEL, ...common, joules: modelJ, idleJoules: modelJ / 2 },
    ],
    carbon: { grams: (joules / 3.6e6) * gramsPerKwh, gramsPerKwh, source: 'configured' },
    idle: { source: SENSOR.source, watts: 3, halfWidthW: 0.1, ageS: 60 },
    machine: { celsius: { cpu: 50 }, clocksMhz: {}, throttledNow: [], throttledPast: [], throttleEvents: {} },
  }
}

describe('totals of the controller', () => {
  test('are what the devices report, whatever the sources, over every boot', () => {
    const amount = fc.double({ min: 0, max: 1e6, noNaN: true })
    fc.assert(
      fc.property(fc.array(fc.tuple(amount, amount), { minLength: 1, maxLength: 5 }), (boots) => {
        const reported = boots.map(([sensorJ, modelJ]) => withGaps(sensorJ, modelJ))
        const total = reported.reduce((sum, each) => addTelemetry(sum, each))
        const joules = boots.flat().reduce((a, b) => a + b, 0)
        expect(energyOf(total.energy)!.joules).toBeCloseTo(joules, 3)
        expect(energyOf(total.energy)!.idleJoules).toBeCloseTo(joules / 2, 3)
        expect(total.carbon!.grams).toBeCloseTo((joules / 3.6e6) * 400, 6)
      }),
    )
  })

  test('keep idle power, machine and grams of carbon in the store, also for a message that lacks them', () => {
    const store = openStore(join(temporaryFolder(), 'c.sqlite'))
    const send = (boot: string, seq: number, body: Telemetry) => {
      const message = envelope(body, { boot, seq })
      store.boots.note(DEVICE, message, undefined)
      store.telemetry.accumulate(DEVICE, message, seq)
    }
    send('a', 1, withGaps(30, 6))
    send('b', 1, withGaps(3, 1))
    const { idle, machine, ...bare } = withGaps(36, 12)
    send('b', 2, bare)
    const totals = store.telemetry.totals(DEVICE)!
    store.close()
    expect(energyOf(totals.energy)!.joules).toBe(84)
    expect(totals).toMatchObject({ idle, machine, carbon: { gramsPerKwh: 400 } })
    expect(totals.carbon!.grams).toBeCloseTo((84 / 3.6e6) * 400, 9)
  })

  test('hold grams of a device that counts back', () => {
    expect(holdCounters(withGaps(30, 6), withGaps(3, 1)).carbon!.grams).toBe(withGaps(30, 6).carbon!.grams)
  })

  test('charge a slot for what was modelled while the sensor was blind', () => {
    const row = (seq: number, counters: Telemetry) => ({ boot: 'a', seq, monoMs: seq * 1000, counters })
    const [before, seen] = [withGaps(100, 0), withGaps(110, 0)]
    const gap = withGaps(100, 10)
    const base = (after: Telemetry) => windowBetween(row(1, before), row(2, after), SLOT)!.baseJoules
    expect(base(gap)).toBe(base(seen))
    expect(base(gap)).toBeGreaterThan(0)
  })
})
