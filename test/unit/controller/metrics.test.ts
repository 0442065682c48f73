import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatMetrics } from '@espalier/controller/api/metrics'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { openStore } from '@espalier/controller/store/open-store'
import { Streams } from '@espalier/controller/uplink/streams'
import { systemClock } from '@espalier/shared/clock'
import { deviceIdSchema } from '@espalier/shared/ids'
import { expect, onTestFinished, test } from 'vitest'
import { configuration, envelope, makeBirth, makeTelemetry, temporaryFolder } from './controller-fixtures.ts'
import { SimulatedRollout } from './rollout-fixtures.ts'

/** Metrics of a fleet in which every device names a class of its own. */
function metricsOf(count: number): string[] {
  const store = openStore(join(temporaryFolder(), 'controller.sqlite'))
  onTestFinished(() => store.close())
  const fleet = new Fleet()
  for (let i = 0; i < count; i++) {
    const device = fleet.open(deviceIdSchema.parse(`cam-${i}`))
    device.birth = { ...makeBirth(device.id), deviceClass: `class-${i}` }
    device.state = 'ready'
    const message = envelope(
      makeTelemetry(configuration, { frames: 100, bits: 1, joules: 1, idleJoules: 1, seconds: 1 }),
      { seq: 1 },
    )
    store.boots.note(device.id, message, systemClock.wallMs())
    store.telemetry.accumulate(device.id, message, systemClock.wallMs())
  }
  const simulated = new SimulatedRollout(3).run(3)
  const text = formatMetrics(
    fleet.list(),
    undefined,
    { received: 1, malformed: 0, repeated: 0, unstored: 0 },
    { store, streams: new Streams(systemClock), clock: systemClock },
    {
      rollouts: { list: () => [simulated.rollout], members: () => simulated.members },
      alerts: { rules: () => [], states: () => [] },
    },
  )
  return text.split('\n').filter((line) => line !== '')
}

const samples = (lines: readonly string[]) => lines.filter((line) => !line.startsWith('#'))

test('series grow by a dozen a device at most, and histograms with classes, of which there are so many and no more', () => {
  const [few, many] = [metricsOf(100), metricsOf(200)]
  const histograms = (lines: readonly string[]) => samples(lines).filter((line) => line.includes('_bucket')).length
  expect((samples(many).length - histograms(many) - (samples(few).length - histograms(few))) / 100).toBeLessThanOrEqual(
    12,
  )
  expect(histograms(many)).toBe(histograms(few))
  expect(many.join('\n')).toContain('class="other"')
})

test('no label is something that is used once, as a digest or a rollout', () => {
  const labels = new Set(
    samples(metricsOf(3)).flatMap((line) => [...line.matchAll(/(\w+)="/g)].map(([, name]) => name)),
  )
  expect([...labels].sort()).toEqual(['class', 'device', 'family', 'le', 'result', 'slot', 'state'])
})

test('the dashboard for Grafana asks for nothing that is not exported', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../deploy/grafana/espalier.json'), 'utf8')
  const asked = new Set([...text.matchAll(/espalier_[a-z_]+/g)].map(([name]) => name.replace(/_bucket$/, '')))
  const exported = new Set(metricsOf(1).flatMap((line) => [...(/^# TYPE (\w+)/.exec(line)?.slice(1) ?? [])]))
  expect(asked.size).toBeGreaterThan(10)
  expect([...asked].filter((name) => !exported.has(name))).toEqual([])
})
