import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FrameResult } from '@espalier/agent/frame-result'
import { brake, initialState } from '@espalier/agent/governor/brake'
import { Governor } from '@espalier/agent/governor/governor'
import { rateModelOf } from '@espalier/agent/governor/rate-model'
import { SlotRecorder } from '@espalier/agent/recorder/slot-recorder'
import { openEventsSink } from '@espalier/agent/sink/events-sink'
import { openLinesSink } from '@espalier/agent/sink/lines-sink'
import { openSink } from '@espalier/agent/sink/open-sink'
import { defaultPlan } from '@espalier/agent/slot/default-plan'
import { findRefusal } from '@espalier/agent/slot/find-refusal'
import { eventRateBps, LINE_BITS } from '@espalier/shared/classifier/event-rate'
import { slotIdSchema } from '@espalier/shared/ids'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeClassifierManifest } from '../make-classifier-manifest.ts'

const SLOT = slotIdSchema.parse('cam0')
const manifest = makeClassifierManifest(
  ['base', 'small'].map((id) => ({ id, macs: 1000 })),
  { family: 'toy', labels: ['cat', 'dog'] },
)
const wasm2 = { backend: 'wasm', threads: 2 } as const
const ability = { manifest, runtimes: [wasm2], maxWorkerBytes: 1e9 }
const plan = defaultPlan(manifest, { width: 640, height: 480 }, { frameRate: 5, runtime: wasm2, maxWorkerBytes: 1e9 })
const [rung] = plan.ladder as [(typeof plan.ladder)[number]]

describe('a slot whose family classifies', () => {
  test('runs the first variant at the size of its input, without alpha, until it is told otherwise', () => {
    expect(rung.configuration).toMatchObject({ family: 'toy', variant: 'base', alpha255: 0, width: 32, height: 24 })
    expect(findRefusal([rung.configuration], ability)).toBeUndefined()
  })

  test('refuses another size, an alpha, and what a codec would refuse', () => {
    const refusalOf = (changes: object) => findRefusal([{ ...rung.configuration, ...changes }], ability)
    expect(refusalOf({ variant: 'small' })).toBeUndefined()
    expect(refusalOf({ alpha255: 4 })).toMatch(/alpha 4\/255/)
    expect(refusalOf({ width: 64 })).toMatch(/found size 64 x 24, "toy" takes 32 x 24/)
    expect(refusalOf({ variant: 'big' })).toMatch(/"base", "small"/)
    expect(refusalOf({ family: 'kodo' })).toMatch(/this slot runs "toy"/)
  })

  test('never brakes by alpha, which would change nothing', () => {
    const small = { ...rung, configuration: { ...rung.configuration, variant: 'small' } }
    const ladder = [rung, small]
    const { expectedBpsOn, maxAlpha255 } = rateModelOf(manifest)
    const situation = {
      nowMs: 20_000,
      ladder,
      leaseBps: 1,
      sent: [{ atMs: 19_000, bits: 1e6, configuration: rung.configuration }],
      outcomes: [],
      expectedBps: expectedBpsOn(ladder),
      maxAlpha255,
    }
    const held = brake(initialState(ladder, 0), situation)
    expect(held.alpha255).toBe(0)
    const released = brake({ ...held, rung: 1 }, { ...situation, nowMs: 90_000, leaseBps: 1e9, sent: [] })
    expect(released).toMatchObject({ rung: 0, alpha255: 0 })
  })

  const planned = ['base', 'small'].map((id, i) => ({
    configuration: { ...rung.configuration, variant: id, frameRate: 20 },
    rateBps: eventRateBps(LINE_BITS, 20),
    powerW: 4 - i,
    utility: 1 - i / 10,
    latencyMs: 20 - 10 * i,
  }))
  /** Frames of twelve seconds. @returns The variant after each second. */
  function run(governor: Governor, each: { readonly powerW: number; readonly isMissed: boolean }): string[] {
    return Array.from({ length: 12 }, (_, s) => {
      for (let frame = 0; frame < 20; frame++) {
        const atMs = s * 1000 + frame * 50
        const configuration = governor.decide(atMs)
        governor.recordSent({ atMs, bits: LINE_BITS, configuration, latencyMs: 20 })
        governor.recordOutcome({ atMs, isMissed: each.isMissed })
      }
      governor.recordPower({ atMs: s * 1000 + 999, durationMs: 1000, powerW: each.powerW })
      return governor.decide(s * 1000 + 999).variant
    })
  }

  test('keeps its rung within a lease of one event a second, though it has a result twenty times a second', () => {
    const leaseBps = planned[0]!.rateBps / 0.97
    const governor = new Governor({ ladder: planned, leaseBps }, 0, rateModelOf(manifest))
    expect(new Set(run(governor, { powerW: 4, isMissed: false }))).toEqual(new Set(['base']))
    expect(governor.factors(11_999).rate).toBeCloseTo(1, 6)
    // What a trial compares is the result itself.
    expect(governor.expectationOf(planned[0]!.configuration)).toEqual({ bits: LINE_BITS, latencyMs: 20, joules: 0.2 })
  })

  test('falls to the variant that draws less when it is over its lease of power, or too slow', () => {
    const leased = new Governor({ ladder: planned, leaseBps: undefined, leasePowerW: 4 }, 0, rateModelOf(manifest))
    expect(run(leased, { powerW: 5, isMissed: false }).at(-1)).toBe('small')
    const slow = new Governor({ ladder: planned, leaseBps: undefined }, 0, rateModelOf(manifest))
    expect(run(slow, { powerW: 4, isMissed: true }).at(-1)).toBe('small')
  })

  test('counts how often the first variant agrees, and a codec has no such counts', () => {
    const recorder = new SlotRecorder()
    expect(recorder.counters()).not.toHaveProperty('comparisons')
    for (const agrees of [true, false, true]) recorder.recordQuality({ kind: 'agreement', agrees })
    expect(recorder.counters()).toMatchObject({ agreements: 2, comparisons: 3, psnrCount: 0 })
  })
})

const seen = (index: number): FrameResult => ({
  kind: 'classification',
  classification: { index, label: index === 0 ? 'cat' : 'dog', score: 0.87654321 },
})

describe('sinks of classifications', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sinks-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  test('events: the label when it changes and lasts, at most once a second', async () => {
    const said: DeviceEvent[] = []
    let nowMs = 0
    const clock = { monotonicMs: () => nowMs, wallMs: () => 0 }
    const sink = openEventsSink(SLOT, clock, (event) => said.push(event))
    // Half a second each: dog flickers at 0.5 s and lasts from 1.5 s on.
    for (const [sequence, index] of [0, 1, 0, 1, 1, 1, 0].entries()) {
      nowMs = sequence * 500
      expect(await sink.send({ sequence, capturedWallMs: nowMs, result: seen(index) })).toBe(true)
    }
    expect(said.map(({ evidence }) => [evidence?.sequence, evidence?.label])).toEqual([
      [0, 'cat'],
      [3, 'dog'],
      [6, 'cat'],
    ])
    expect(said[0]).toMatchObject({ kind: 'classified', slot: SLOT, message: '"cat" with 87.7 %' })
  })

  test('folder: a line of JSON for each frame, and unsent when the disk is gone', async () => {
    const path = join(folder, 'lines')
    const sink = await openLinesSink(path, { maxFiles: 2 })
    for (let n = 0; n < 3; n++) await sink.send({ sequence: n, capturedWallMs: 1000.4 + n, result: seen(n % 2) })
    const [name] = readdirSync(path)
    const lines = readFileSync(join(path, name!), 'utf8').trim().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual(
      [0, 1, 2].map((n) => ({
        sequence: n,
        capturedMs: 1000 + n,
        index: n % 2,
        label: n % 2 === 0 ? 'cat' : 'dog',
        score: 0.8765,
      })),
    )
    // A file for each start; the oldest give way.
    for (let start = 1; start < 4; start++)
      await (await openLinesSink(path, { maxFiles: 2 })).send({
        sequence: 0,
        capturedWallMs: 5000 * start,
        result: seen(0),
      })
    expect(readdirSync(path)).toHaveLength(2)
    rmSync(path, { recursive: true })
    expect(await sink.send({ sequence: 9, capturedWallMs: 1, result: seen(0) })).toBe(false)
  })

  test('a sink that does not fit the task is a wrong configuration', async () => {
    const place = {
      controllerUrl: 'http://127.0.0.1:1',
      device: 'd1',
      slot: SLOT,
      random: () => 0,
      clock: { monotonicMs: () => 0, wallMs: () => 0 },
      onEvent: () => undefined,
    }
    await expect(openSink({ kind: 'uplink' }, { ...place, task: 'classification' })).rejects.toThrow(
      /slot "cam0": found "uplink", expected one of events, folder, discard/,
    )
    await expect(openSink({ kind: 'events' }, { ...place, task: 'image-codec' })).rejects.toMatchObject({
      code: 'CONFIG',
    })
  })
})
