import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '@espalier/controller/config'
import { type RunningController, startController } from '@espalier/controller/main'
import { configurationSchema } from '@espalier/shared/configuration'
import { type Digest, deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import {
  birthSchema,
  eventSchema,
  reportedSchema,
  stateSchema,
  telemetrySchema,
} from '@espalier/shared/messages/device'
import { type Difference, makeSecondVersion } from 'espalier/bench/second-version'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FleetEar } from './fleet-ear.ts'
import { makePictures } from './make-pictures.ts'
import { startAgent } from './start-agent.ts'
import { FAMILY } from './with-worker.ts'

const SLOT = slotIdSchema.parse('cam0')
// Large enough that the network, not what is around it, takes a frame's time.
const [WIDTH, HEIGHT] = [256, 192]
const FRAME_RATE = 10
/** A trial counts these instead of seconds: with two or three frames in each it is over several times as soon. */
const METER_EVERY_MS = 150
/** A dozen seconds on a machine with nothing else to do. */
const PATIENCE_MS = 170_000
const silent = pino({ level: 'silent' })

function desired(gen: number, family?: Digest): Desired {
  const configuration = configurationSchema.parse({
    family: 'kodo',
    variant: 'tiny',
    alpha255: 64,
    mode: 'merged',
    backend: 'wasm',
    threads: 1,
    width: WIDTH,
    height: HEIGHT,
    frameRate: FRAME_RATE,
  })
  return desiredSchema.parse({
    gen,
    telemetryIntervalS: 0.5,
    slots: [
      {
        slot: SLOT,
        ...(family === undefined ? {} : { family: { manifestDigest: family } }),
        ladder: [{ configuration, rateBps: 40_000, powerW: 1, utility: 1 }],
        lease: { ttlS: 600 },
        prices: { lambda: 0, mu: 0 },
      },
    ],
  })
}

let home: string
let controller: RunningController
let shipped: Digest
const versions = {} as Record<Difference, Digest>

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'espalier-update-'))
  await makePictures(home, { width: WIDTH, height: HEIGHT })
  shipped = (await openFamily(FAMILY)).manifestDigest
  for (const [i, difference] of (['as good', 'golden mismatch', 'slower'] as const).entries())
    versions[difference] = await makeSecondVersion(join(home, 'families', `v${i}`), difference, `9.${i}.0`)
  const config = loadConfig({
    flags: { port: 0, mqttPort: 0, dataDir: join(home, 'controller'), familiesDir: join(home, 'families') },
  })
  controller = await startController(config, silent)
})

afterAll(async () => {
  await controller.close()
  await rm(home, { recursive: true, force: true })
})

/** A real agent whose desired state this test writes, and whose blobs the real controller serves. */
async function withAgent(
  name: string,
  use: (ear: FleetEar, restart: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const device = deviceIdSchema.parse(name)
  const ear = new FleetEar(device, SLOT)
  await ear.open()
  const settings = {
    device,
    dataDir: join(home, `data-${name}`),
    mqttUrl: `mqtt://127.0.0.1:${ear.mqttPort}`,
    controllerUrl: controller.url,
    familyDir: FAMILY,
    slots: [{ slot: SLOT, source: { kind: 'images', path: home, frameRate: FRAME_RATE } }],
  }
  let agent = startAgent(settings, { meterEveryMs: METER_EVERY_MS })
  try {
    await use(ear, async () => {
      await agent.stop()
      agent = startAgent(settings, { meterEveryMs: METER_EVERY_MS })
    })
  } finally {
    await agent.stop()
    await ear.close()
  }
}

/** Run the shipped version, then order another, and wait for the end of it. */
async function update(ear: FleetEar, version: Digest) {
  await ear.tell('desired', desired(1))
  await ear.until('reported', reportedSchema, ({ gen, slots }) => gen === 1 && slots[0]!.phase === 'applied')
  await ear.tell('desired', desired(2, version))
  const { slots } = await ear.until('reported', reportedSchema, ({ slots: [slot] }) =>
    slot!.update?.state === 'committed'
      ? slot!.manifestDigest === version
      : ['rolled-back', 'safe'].includes(slot!.update?.state ?? '') && slot!.manifestDigest === shipped,
  )
  return slots[0]!
}

test(
  'a version that is as good is fetched, tried on real frames, committed, and run after a restart',
  () =>
    withAgent('as-good', async (ear, restart) => {
      const slot = await update(ear, versions['as good'])
      expect(slot).toMatchObject({
        manifestDigest: versions['as good'],
        // The ladder came for the version before: the new one can run it.
        configuration: { variant: 'tiny', alpha255: 64 },
        update: {
          state: 'committed',
          attempt: 1,
          evidence: { goldenVariants: ['tiny'], latency: { decision: 'acceptable' } },
        },
      })
      // All but one tensor came with the software: nothing else was fetched.
      expect(slot.update!.neededBytes).toBeLessThan(100_000)
      expect(slot.update!.fetchedBytes).toBe(slot.update!.neededBytes)
      const states = ear.heard('reported', reportedSchema).map(({ body }) => body.slots[0]!.update?.state)
      expect([...new Set(states)]).toEqual(expect.arrayContaining(['trial', 'committed']))
      expect(ear.heard('state', stateSchema).map(({ body }) => body.state)).toContain('trial')
      await ear.until('birth', birthSchema, ({ slots }) => slots[0]!.manifestDigest === versions['as good'])
      const { link, self } = await ear.until(
        'telemetry',
        telemetrySchema,
        ({ link }) => (link?.monthFetchBytes ?? 0) > 0,
      )
      expect(link!.monthFetchBytes).toBeGreaterThan(slot.update!.neededBytes)
      expect(self.flashBytes).toBeGreaterThanOrEqual(0)

      const from = ear.said.length
      await restart()
      const again = await ear.until('reported', reportedSchema, ({ slots }) => slots[0]!.phase === 'applied', from)
      expect(again.slots[0]).toMatchObject({
        manifestDigest: versions['as good'],
        configuration: { variant: 'tiny', alpha255: 64 },
      })

      await ear.tell('command/back', { kind: 'roll-back', slot: SLOT })
      await ear.until('reported', reportedSchema, ({ slots: [one] }) => one!.manifestDigest === shipped, from)
      await ear.until(
        'event',
        eventSchema,
        ({ kind, message }) => kind === 'update-rolled-back' && /command/.test(message),
      )
    }),
  PATIENCE_MS,
)

test(
  'a version with other golden outputs is rolled back before it has a frame, with evidence',
  () =>
    withAgent('golden', async (ear) => {
      const slot = await update(ear, versions['golden mismatch'])
      expect(slot).toMatchObject({ manifestDigest: shipped, phase: 'applied', update: { state: 'rolled-back' } })
      expect(slot.update!.reason).toMatch(/golden/)
      const event = await ear.until('event', eventSchema, ({ kind }) => kind === 'update-rolled-back')
      expect(event.evidence).toMatchObject({ target: versions['golden mismatch'], running: shipped })
      expect(ear.heard('state', stateSchema).map(({ body }) => body.state)).not.toContain('trial')

      // The same order again is not tried again; paused, it sends nothing, over a restart too.
      await ear.tell('desired', desired(3, versions['golden mismatch']))
      const after = await ear.until('reported', reportedSchema, ({ gen }) => gen === 3)
      expect(after.slots[0]!.update).toMatchObject({ state: 'rolled-back', attempt: 1 })
      await ear.tell('command/pause', { kind: 'pause', slot: SLOT })
      await ear.until('reported', reportedSchema, ({ slots: [one] }) => one!.isPaused === true)
      // What was waiting for the worker is still done.
      await delay(2000)
      const { slots: before } = ear.heard('telemetry', telemetrySchema).at(-1)!.body
      const from = ear.said.length
      await ear.until('telemetry', telemetrySchema, () => true, from)
      await delay(1000)
      const { slots: later } = ear.heard('telemetry', telemetrySchema).at(-1)!.body
      expect(later[0]!.frames - before[0]!.frames).toBeLessThanOrEqual(1)
      expect(later[0]!.dropped).toBe(before[0]!.dropped)
      await ear.tell('command/resume', { kind: 'resume', slot: SLOT })
      await ear.until('telemetry', telemetrySchema, ({ slots: [one] }) => one!.frames > later[0]!.frames + 2, from)
    }),
  PATIENCE_MS,
)

test(
  'a version that is slower than it says is rolled back on trial, with what was measured',
  () =>
    withAgent('slower', async (ear) => {
      const slot = await update(ear, versions.slower)
      expect(slot).toMatchObject({ manifestDigest: shipped, update: { state: 'rolled-back' } })
      expect(slot.update!.reason).toMatch(/latency|J\/frame|processor time/)
      const event = await ear.until('event', eventSchema, ({ kind }) => kind === 'update-rolled-back')
      expect(event.evidence).toMatchObject({ goldenVariants: ['tiny'], latency: { seconds: expect.any(Number) } })
      // The old one goes on.
      const frames = ear.heard('telemetry', telemetrySchema).at(-1)!.body.slots[0]!.frames
      const on = await ear.until('telemetry', telemetrySchema, ({ slots: [one] }) => one!.frames > frames + 5)
      expect(on.slots[0]!.configuration).toContain('kodo/tiny')
    }),
  PATIENCE_MS,
)
