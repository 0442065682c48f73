import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Families } from '@espalier/controller/families'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { openVirtualController } from '@espalier/controller/sim/virtual-controller'
import { makeTrace } from '@espalier/controller/trace/make-trace'
import { replayTrace } from '@espalier/controller/trace/replay'
import { formatTrace, parseTrace } from '@espalier/controller/trace/trace'
import { configurationId } from '@espalier/shared/configuration'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  configuration,
  DEVICE,
  envelope,
  makeBirth,
  makeTelemetry,
  manifest,
  SLOT,
  temporaryFolder,
} from './controller-fixtures.ts'

const families = {
  get: () => ({ manifest, manifestDigest: 'a'.repeat(64) }),
  version: () => undefined,
  list: () => [],
} as unknown as Families

/** A controller that hears a device for some time. */
function listen() {
  const controller = openVirtualController({ path: join(temporaryFolder(), 'c.sqlite'), families })
  onTestFinished(() => controller.close())
  const { store, fleet, clock, events } = controller
  const alarms: string[] = []
  events.subscribe((event) => {
    if (event.kind === 'alarm') alarms.push(event.data.message)
  })
  const say = (kind: string, body: unknown, seq: number) =>
    controller.hear(DEVICE, kind, envelope(body, { seq, mono: clock.monotonicMs() }))
  say('state', { state: 'ready' }, 0)
  say('birth', makeBirth(), 1)
  return {
    store,
    fleet,
    alarms,
    clock,
    /** A message a second, of a device whose frames always cost the same. */
    hear(seconds: number, frame: { bits: number; joules: number; latencyS: number }) {
      for (let k = 0; k < seconds; k++) {
        controller.pass(1)
        const at = clock.monotonicMs() / 1000
        const counted = { frames: 5 * at, bits: 5 * at * frame.bits, joules: at * (5 * frame.joules + 1) }
        const telemetry = makeTelemetry(configuration, {
          ...counted,
          idleJoules: at,
          seconds: at,
          latencyS: frame.latencyS,
        })
        say('telemetry', telemetry, at + 1)
      }
    },
  }
}

describe('makeTrace()', () => {
  test('has what was measured, epoch by epoch, with the budgets of their time', () => {
    const { store, fleet, clock, hear } = listen()
    hear(60, { bits: 20_000, joules: 0.4, latencyS: 0.05 })
    store.budgets.change('site:local', { rateBps: 90_000 }, clock.wallMs())
    hear(60, { bits: 20_000, joules: 0.4, latencyS: 0.05 })
    const sources = { store, fleet, families }
    const trace = makeTrace(sources, { sinceMs: clock.wallMs() - 3_600_000, nowMs: clock.wallMs() })!
    expect(trace.epochs.length).toBeGreaterThanOrEqual(12)
    const { slots, budgets } = trace.epochs[3]!
    expect(budgets).toEqual({})
    expect(trace.epochs[10]!.budgets).toEqual({ 'site:local': { rateBps: 90_000 } })
    const reading = slots[`${DEVICE}/${SLOT}`]!
    expect(reading.configuration).toBe(configurationId(configuration))
    expect(reading.bitsPerFrame).toBeCloseTo(20_000)
    expect(reading.joulesPerFrame).toBeCloseTo(0.4)
    expect(reading.latencyS).toBeCloseTo(0.05, 2)
    expect(parseTrace('made', formatTrace(trace))).toEqual(trace)
  })

  test('prices a device by the version of its family that it has', () => {
    const { store, fleet, clock, hear } = listen()
    hear(60, { bits: 20_000, joules: 0.4, latencyS: 0.05 })
    const half = structuredClone(manifest) as CodecManifest
    for (const variant of half.variants)
      for (const point of variant.card) Object.assign(point, { bitsPerPixel: point.bitsPerPixel / 2 })
    const digest = makeBirth().slots[0]!.manifestDigest
    const older = { manifest: half, manifestDigest: digest }
    const both = {
      ...families,
      version: (wanted: string) => (wanted === digest ? older : undefined),
    } as unknown as Families
    const bitsOf = (known: Families) =>
      makeTrace({ store, fleet, families: known }, { sinceMs: 0, nowMs: clock.wallMs() })!.header.slots[0]!.options.map(
        ({ bitsPerFrame }) => bitsPerFrame,
      )
    // `get()` gives the newest, which the device does not have.
    expect(bitsOf(both)).toEqual(bitsOf(families).map((bits) => bits / 2))
  })

  test('is absent before any telemetry', () => {
    const { store, fleet, clock } = listen()
    const sources = { store, fleet, families }
    expect(makeTrace(sources, { sinceMs: 0, nowMs: clock.wallMs() })).toBeUndefined()
  })
})

describe('what ingest learns', () => {
  test('is the class prior of the next device of the class, also after a restart', () => {
    const { store, fleet, hear } = listen()
    hear(120, { bits: 20_000, joules: 0.4, latencyS: 0.2 })
    const slot = makeBirth().slots[0]!
    const again = Fleet.load(store)
    for (const known of [fleet, again]) {
      const { members, start } = known.beliefs.priorOf(known.get(DEVICE)!, slot)
      expect(members).toBe(1)
      expect(start.latency.common.mean).toBeGreaterThan(0.3)
    }
  })

  test('tells of a device that became slower, and since when', () => {
    const { alarms, hear } = listen()
    hear(400, { bits: 20_000, joules: 0.4, latencyS: 0.05 })
    expect(alarms).toEqual([])
    hear(500, { bits: 20_000, joules: 0.4, latencyS: 0.08 })
    expect(alarms).toHaveLength(1)
    // Buckets of the histogram are about a tenth wide.
    expect(alarms[0]).toMatch(/^The latency of "cam-1\/cam0" drifted \+[56]\d % since 2023-11-14T22:20:0/)
  })
})

describe('the trace of a real local fleet', () => {
  const path = join(import.meta.dirname, '../../fixtures/traces/local-fleet.jsonl')
  const trace = parseTrace(path, readFileSync(path, 'utf8'))

  test('is replayed under every policy that knows only the past, and none exceeds the clairvoyant', () => {
    const { policies } = replayTrace(trace, ['ours', 'equal-share', 'static-best'])
    for (const { utilityPct, late } of policies) {
      expect(utilityPct).toBeGreaterThan(0)
      expect(utilityPct).toBeLessThanOrEqual(100.001)
      expect(late).toBeLessThanOrEqual(1)
    }
  })
})
