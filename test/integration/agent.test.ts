import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { QualitySample } from '@espalier/agent/frame-result'
import type { WorkerJob } from '@espalier/agent/supervisor/worker-supervisor'
import { readHeader } from '@espalier/shared/codec/container'
import { configurationSchema } from '@espalier/shared/configuration'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import {
  ackSchema,
  birthSchema,
  eventSchema,
  reportedSchema,
  stateSchema,
  telemetrySchema,
} from '@espalier/shared/messages/device'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FleetEar } from './fleet-ear.ts'
import { makePictures } from './make-pictures.ts'
import { startAgent } from './start-agent.ts'
import { FAMILY, withWorker } from './with-worker.ts'

const AGENT_PROCESS = join(import.meta.dirname, '../../agent/dist/process.js')
const DEVICE = deviceIdSchema.parse('cam-7')
const SLOT = slotIdSchema.parse('cam0')
const WIDTH = 96
const HEIGHT = 64

const configuration = configurationSchema.parse({
  family: 'kodo',
  variant: 'full',
  alpha255: 64,
  mode: 'merged',
  backend: 'wasm',
  threads: 1,
  width: WIDTH,
  height: HEIGHT,
  frameRate: 10,
})

function desired(gen: number, changes: Partial<typeof configuration>, rateBps?: number): Desired {
  const rung = { configuration: { ...configuration, ...changes }, rateBps: 40_000, powerW: 1, utility: 1 }
  const lease = { ttlS: 60, ...(rateBps === undefined ? {} : { rateBps }) }
  return desiredSchema.parse({
    gen,
    telemetryIntervalS: 0.2,
    slots: [{ slot: SLOT, ladder: [rung], lease, prices: { lambda: 0, mu: 0 } }],
  })
}

let home: string
let ear: FleetEar
const running: Array<() => Promise<void>> = []

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'espalier-agent-'))
  await makePictures(home, { width: WIDTH, height: HEIGHT })
})

afterAll(() => rm(home, { recursive: true, force: true }))

beforeEach(async () => {
  ear = new FleetEar(DEVICE, SLOT)
  await ear.open()
})

afterEach(async () => {
  for (const stop of running.splice(0)) await stop()
  await ear.close()
})

/** Of an agent with a data directory of its own. */
async function makeSettings() {
  return {
    device: DEVICE,
    dataDir: await mkdtemp(join(home, 'data-')),
    mqttUrl: `mqtt://127.0.0.1:${ear.mqttPort}`,
    controllerUrl: `http://127.0.0.1:${ear.uplinkPort}`,
    familyDir: FAMILY,
    backends: ['wasm'],
    slots: [{ slot: SLOT, source: { kind: 'images', path: home, frameRate: 10 } }],
    qualityEveryFrames: 5,
  }
}

type Settings = Awaited<ReturnType<typeof makeSettings>>

/** The executable, as an operator runs it. */
async function startProcess(settings: Settings): Promise<ChildProcess> {
  const path = join(settings.dataDir, 'agent.json')
  await writeFile(path, JSON.stringify(settings))
  const child = spawn(process.execPath, [AGENT_PROCESS, '--config', path], { stdio: 'ignore' })
  running.push(async () => void child.kill('SIGKILL'))
  return child
}

function start(settings: object): () => Promise<void> {
  const { stop } = startAgent(settings)
  running.push(stop)
  return stop
}

describe('runAgent()', () => {
  test('introduces itself, sends decodable frames and true figures, and says when it leaves', async () => {
    const stop = start(await makeSettings())

    const birth = await ear.until('birth', birthSchema)
    const telemetry = await ear.until('telemetry', telemetrySchema, ({ slots }) => slots[0]!.psnrCount > 1)
    while (ear.frames.length < 5) await delay(25)
    await stop()

    expect(ear.said[0]).toMatchObject({ kind: 'state', retain: true, qos: 1 })
    expect(birth.slots[0]).toMatchObject({ slot: SLOT, family: 'kodo', source: { width: WIDTH, height: HEIGHT } })
    expect(birth.slots[0]!.macsPerSecond).toBeGreaterThan(1e6)
    const states = ear.heard('state', stateSchema)
    expect(states[0]!.body.state).toBe('init')
    expect(states.map(({ body }) => body.state)).toContain('ready')
    expect(states.at(-1)!.body.state).toBe('offline')
    expect(new Set(states.map(({ bd }) => bd))).toEqual(new Set([1]))
    // Nobody told it anything: the safe default.
    const reported = ear.heard('reported', reportedSchema)
    expect(reported.at(-1)!.body).toMatchObject({ gen: 0, slots: [{ configuration: { alpha255: 128 } }] })
    const slot = telemetry.slots[0]!
    expect(slot.psnrSum / slot.psnrCount).toBeGreaterThan(15)
    expect(slot.joules).toBeGreaterThan(slot.idleJoules)
    const device = telemetry.energy.reduce((sum, { joules }) => sum + joules, 0)
    expect(slot.joules + telemetry.self.joules).toBeCloseTo(device, 6)
    const sequences = ear.frames.map(({ sequence }) => sequence)
    expect(sequences).toEqual(sequences.map((_, i) => sequences[0]! + i))
    expect(readHeader(ear.frames[0]!.stream)).toMatchObject({ width: WIDTH, height: HEIGHT, alpha255: 128 })
  })

  test('follows a desired state between two frames, refuses what it cannot run, and ignores an older one', async () => {
    start(await makeSettings())
    // It runs the default until it hears of another, however late that is.
    while (ear.frames.length === 0) await delay(25)

    await ear.tell('desired', desired(5, { alpha255: 200, width: 48, height: 32 }))
    await ear.until('reported', reportedSchema, ({ gen }) => gen === 5)
    while (!ear.frames.some(({ stream }) => readHeader(stream).alpha255 === 200)) await delay(25)
    await ear.tell('desired', desired(4, { alpha255: 10 }))
    await ear.tell('desired', desired(6, { variant: 'nothing-of-the-sort' }))
    const refused = await ear.until('reported', reportedSchema, ({ slots }) => slots[0]!.phase === 'refused')
    await ear.tell('command/a1', { kind: 'snapshot', slot: SLOT })
    const ack = await ear.until('ack/a1', ackSchema)

    expect(refused).toMatchObject({ gen: 6, slots: [{ configuration: { alpha255: 200, width: 48 } }] })
    expect(refused.slots[0]!.reason).toContain('nothing-of-the-sort')
    expect(ack.result).toBe('done')
    const sequences = ear.frames.map(({ sequence }) => sequence)
    expect(sequences).toEqual(sequences.map((_, i) => sequences[0]! + i))
    const alphas = new Set(ear.frames.map(({ stream }) => readHeader(stream).alpha255))
    expect(alphas).toEqual(new Set([128, 200]))
  })

  test('goes on with the same configuration and its counts when a worker is killed', async () => {
    start(await makeSettings())
    await ear.until('birth', birthSchema)
    await ear.tell('desired', desired(1, { alpha255: 180 }))
    const before = await ear.until('telemetry', telemetrySchema, ({ slots }) => slots[0]!.frames > 3)

    await ear.tell('command/k', { kind: 'restart-worker' })
    const event = await ear.until('event', eventSchema, ({ kind }) => kind === 'worker-died')
    const after = await ear.until(
      'telemetry',
      telemetrySchema,
      ({ slots, self }) => self.workerRestarts === 1 && slots[0]!.frames > before.slots[0]!.frames + 5,
    )

    expect(event.message).toContain('SIGKILL')
    expect(after.slots[0]!.bits).toBeGreaterThan(before.slots[0]!.bits)
    expect(after.slots[0]!.configuration).toContain('/a180/')
    expect(readHeader(ear.frames.at(-1)!.stream).alpha255).toBe(180)
  })

  test('runs the last good desired state after being killed, with nobody there, and replays what it could not say', async () => {
    const settings = await makeSettings()
    const killed = await startProcess(settings)
    await ear.until('birth', birthSchema)
    await ear.tell('desired', desired(9, { alpha255: 220 }))
    await ear.until('reported', reportedSchema, ({ gen }) => gen === 9)
    killed.kill('SIGKILL')
    const lost = await ear.until('state', stateSchema, ({ state }) => state === 'lost')
    const lostBd = ear.heard('state', stateSchema).at(-1)!.bd
    const { mqttPort } = ear
    await ear.close()

    // No broker, no controller: it works all the same and keeps telemetry for later.
    const streams = join(settings.dataDir, 'streams')
    const sink = { kind: 'folder', path: streams, maxFiles: 10 }
    start({ ...settings, slots: settings.slots.map((slot) => ({ ...slot, sink })) })
    while ((await readdir(streams).catch(() => [])).length < 3) await delay(50)
    ear = new FleetEar(DEVICE, SLOT)
    await ear.open(mqttPort)
    const reported = await ear.until('reported', reportedSchema)

    expect([lost.state, lostBd]).toEqual(['lost', 1])
    expect(reported).toMatchObject({ gen: 9, slots: [{ configuration: { alpha255: 220 } }] })
    const states = ear.heard('state', stateSchema)
    expect(states[0]!.bd).toBe(2)
    // Telemetry that was made before the connection that delivered it.
    while (!ear.heard('telemetry', telemetrySchema).some(({ seq }) => seq < states[0]!.seq)) await delay(25)
  })
})

describe('WorkerSupervisor', () => {
  const picture = { width: 32, height: 32, rgb: new Uint8Array(32 * 32 * 3).fill(90) }
  const small = { ...configuration, width: 32, height: 32 }

  const streamOf = ({ result }: WorkerJob): Buffer =>
    result.kind === 'stream' ? Buffer.from(result.stream) : expect.fail('found no stream')
  const psnrOf = (sample: QualitySample | undefined): number =>
    sample?.kind === 'psnr' ? sample.psnrDb : expect.fail('found no quality')

  /** A worker that hangs is waited for so long, and one that opens its model on a busy machine needs most of it. */
  const patience = { frameDeadlineMs: 5000 }

  test('starts another worker when one is killed, and keeps the CPU seconds of the dead', () =>
    withWorker(async (worker, deaths) => {
      const { signal } = new AbortController()
      await worker.ready(signal)
      const job = await worker.process(picture, small, { keyFrame: true, measureQuality: true })
      expect(psnrOf(await job.quality)).toBeGreaterThan(20)
      const cpu = worker.cpuSeconds
      process.kill(worker.pid!, 'SIGKILL')
      while (deaths.length === 0) await delay(10)
      await worker.ready(signal)
      const again = await worker.process(picture, small, { keyFrame: false, measureQuality: false })

      expect(streamOf(again)).toEqual(streamOf(job))
      expect(worker.restarts).toBe(1)
      expect(worker.cpuSeconds.slot).toBeGreaterThan(cpu.slot)
      expect(worker.cpuSeconds.agent).toBeGreaterThan(cpu.agent)
    }, patience))

  test('kills a worker that hangs and rejects its frame as retryable', () =>
    withWorker(async (worker, deaths) => {
      const { signal } = new AbortController()
      await worker.ready(signal)
      process.kill(worker.pid!, 'SIGSTOP')
      await expect(worker.process(picture, small, { keyFrame: false, measureQuality: false })).rejects.toMatchObject({
        code: 'TRANSPORT',
        retryable: true,
      })
      await worker.ready(signal)

      expect(deaths).toHaveLength(1)
      const job = await worker.process(picture, small, { keyFrame: false, measureQuality: false })
      expect(streamOf(job).length).toBeGreaterThan(32)
    }, patience))
})
