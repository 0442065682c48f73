import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { probeRuntime } from '@espalier/agent/backends/probe-runtime'
import { RuntimeChange } from '@espalier/agent/slot/runtime-change'
import { WORKER_PATH } from '@espalier/agent/supervisor/worker-supervisor'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import { ackSchema, birthSchema, eventSchema, reportedSchema } from '@espalier/shared/messages/device'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeConfiguration } from '../unit/make-configuration.ts'
import { FleetEar } from './fleet-ear.ts'
import { startAgent } from './start-agent.ts'
import { FAMILY, withWorker } from './with-worker.ts'

/** Chromium's GPU in software: the one adapter that a machine without a GPU can give Dawn. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json'
const CLIP = join(import.meta.dirname, '../../models/clip')
const DEVICE = deviceIdSchema.parse('cam-8')
const SLOT = slotIdSchema.parse('cam0')
const native = { backend: 'native', threads: 1 } as const
const picture = { width: 64, height: 64, rgb: new Uint8Array(64 * 64 * 3).map((_, i) => (i * 31) & 0xff) }
const options = { workerPath: WORKER_PATH, familyDir: FAMILY, variants: ['full', 'tiny'] }

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'espalier-backends-'))
})
afterAll(() => rm(home, { recursive: true, force: true }))

describe('probeRuntime()', () => {
  test('measures a backend and finds that its variants give their golden outputs', async () => {
    const probe = await probeRuntime(native, options)
    expect(probe).toMatchObject({ runtime: native, failures: new Map() })
    expect('speed' in probe && probe.speed.macsPerSecond).toBeGreaterThan(1e6)
    expect('speed' in probe && probe.speed.adapter?.bakedMs).toBeGreaterThan(0)
  })

  test('says what a variant is refused for, and goes on with the others', async () => {
    const probe = await probeRuntime(native, { ...options, variants: ['absent', 'tiny'] })
    expect('failures' in probe && [...probe.failures.keys()]).toEqual(['absent'])
    expect('failures' in probe && probe.failures.get('absent')).toContain('"absent"')
  })

  test('outlives a backend that takes its process down, and says so', async () => {
    const workerPath = join(home, 'dies.mjs')
    await writeFile(workerPath, "console.error('driver: much ado'); process.kill(process.pid, 'SIGSEGV')\n")
    const probe = await probeRuntime(native, { ...options, workerPath })
    expect('reason' in probe && probe.reason).toMatch(/SIGSEGV/)
  })

  test('refuses a GPU that is not there with the reason', async () => {
    const before = process.env.VK_ICD_FILENAMES
    process.env.VK_ICD_FILENAMES = join(home, 'none.json')
    try {
      const probe = await probeRuntime({ backend: 'webgpu', threads: 1 }, options)
      expect('reason' in probe && probe.reason).toMatch(/Cannot open backend "webgpu": .*adapter/)
    } finally {
      if (before === undefined) delete process.env.VK_ICD_FILENAMES
      else process.env.VK_ICD_FILENAMES = before
    }
  })
})

test('a change of backend takes place between two frames, while the old one has them', () =>
  withWorker(
    async (worker) => {
      const change = new RuntimeChange(worker)
      const frame = (backend: 'wasm' | 'native') =>
        worker.process(picture, makeConfiguration({ variant: 'tiny', backend }), {
          keyFrame: true,
          measureQuality: false,
        })
      const { result: before } = await frame('wasm')
      let frames = 0
      let opened: readonly string[] | undefined
      while (opened === undefined) {
        opened = await change.step(native, ['tiny'], { isPatient: false })
        await frame(opened === undefined ? 'wasm' : 'native')
        frames++
        await delay(20)
      }
      expect(frames).toBeGreaterThan(1)
      expect(opened).toEqual(['tiny'])
      expect(worker.setup).toMatchObject(native)
      const { result: after } = await frame('native')
      expect(after.kind === 'stream' && before.kind === 'stream' && after.stream.length - before.stream.length).toBe(0)
    },
    { frameDeadlineMs: 15_000 },
  ))

test('a change to a backend that cannot be used is refused, and the old one goes on', () =>
  withWorker(
    async (worker) => {
      const pid = worker.pid
      const change = new RuntimeChange(worker)
      await expect(change.step(native, ['absent'], { isPatient: true })).rejects.toThrow(
        /Cannot run on native with 1 thread: .*"absent"/,
      )
      expect(worker.pid).toBe(pid)
      expect(await change.step(native, ['tiny'], { isPatient: true })).toEqual(['tiny'])
      expect(worker.pid).not.toBe(pid)
    },
    { frameDeadlineMs: 15_000 },
  ))

test.skipIf(!existsSync(SWIFTSHADER))('a GPU gives the same symbols as WebAssembly to within rounding', async () => {
  // Dawn looks for drivers once in a process, so this must be the process's own environment.
  const { execFile } = await import('node:child_process')
  const { promisify } = await import('node:util')
  const script = `
    import { openCodec } from '@espalier/shared/codec/open-codec'
    import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
    const family = await openCodecFamily(${JSON.stringify(FAMILY)})
    const codec = await openCodec(family, { backend: 'webgpu', threads: 1 })
    // Golden symbols are those of WebAssembly: opening compares.
    await codec.openVariants(['tiny'])
    await codec.close()
    console.log('golden')`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: join(import.meta.dirname, '../../agent'),
    env: { ...process.env, VK_ICD_FILENAMES: SWIFTSHADER },
  })
  expect(stdout).toContain('golden')
})

test('an agent takes the fastest backend, says what it measured, changes it when told, and measures anew', async () => {
  const ear = new FleetEar(DEVICE, SLOT)
  await ear.open()
  const { stop } = startAgent({
    device: DEVICE,
    dataDir: join(home, 'data'),
    mqttUrl: `mqtt://127.0.0.1:${ear.mqttPort}`,
    familyDir: FAMILY,
    backends: ['wasm', 'native'],
    slots: [{ slot: SLOT, source: { kind: 'images', path: CLIP, frameRate: 5 }, sink: { kind: 'discard' } }],
  })
  try {
    const birth = await ear.until('birth', birthSchema)
    const { backends } = birth.slots[0]!
    expect(backends.map(({ backend }) => backend).sort()).toEqual(['native', 'wasm'])
    const [first, second] = backends as [(typeof backends)[number], (typeof backends)[number]]
    expect(first.macsPerSecond).toBeGreaterThan(second.macsPerSecond!)
    const before = await ear.until('reported', reportedSchema, ({ slots }) => slots[0]?.phase === 'applied')
    expect(before.slots[0]!.configuration).toMatchObject({ backend: first.backend })

    const rungOf = (backend: 'wasm' | 'native') => ({
      configuration: makeConfiguration({ variant: 'tiny', backend }),
      ...{ rateBps: 40_000, powerW: 1, utility: 1 },
    })
    const desired = (gen: number, ladder: unknown[]): Desired =>
      desiredSchema.parse({
        gen,
        telemetryIntervalS: 0.2,
        slots: [{ slot: SLOT, ladder, lease: { ttlS: 60 }, prices: { lambda: 0, mu: 0 } }],
      })
    await ear.tell('desired', desired(1, [rungOf(second.backend as 'wasm')]))
    const after = await ear.until(
      'reported',
      reportedSchema,
      ({ gen, slots }) => gen === 1 && slots[0]?.phase === 'applied',
    )
    expect(after.slots[0]!.configuration).toMatchObject({ backend: second.backend, variant: 'tiny' })

    await ear.tell('desired', desired(2, [rungOf('wasm'), rungOf('native')]))
    const event = await ear.until('event', eventSchema, ({ kind }) => kind === 'desired-refused')
    expect(event.message).toContain('in one ladder')

    const births = ear.heard('birth', birthSchema).length
    await ear.tell('command/again', { kind: 'profile', slot: SLOT })
    const ack = await ear.until('ack/again', ackSchema)
    expect(ack.result).toBe('done')
    const measured = ear.heard('birth', birthSchema)
    expect(measured.length).toBeGreaterThan(births)
    expect(measured.at(-1)!.body.slots[0]!.backends).not.toEqual(backends)
  } finally {
    await stop()
    await ear.close()
  }
}, 180_000)
