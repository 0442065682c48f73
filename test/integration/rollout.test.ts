import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig, type RawSettings } from '@espalier/controller/config'
import { startController } from '@espalier/controller/main'
import type { Digest } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { apiCaller } from './api-caller.ts'
import { FakeDevice } from './fake-device.ts'
import { until } from './until.ts'

const KODO = join(import.meta.dirname, '../../models/kodo')

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'espalier-rollout-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Another version of the family that ships: without its smallest variant, so that a plan shows which one it is of. */
async function makeVersion(path: string, version: string): Promise<Digest> {
  await mkdir(path, { recursive: true })
  await cp(join(KODO, 'blobs'), join(path, 'blobs'), { recursive: true })
  const manifest = JSON.parse(await readFile(join(KODO, 'manifest.json'), 'utf8'))
  manifest.variants.pop()
  await writeFile(join(path, 'manifest.json'), JSON.stringify({ ...manifest, version }))
  return (await openFamily(path)).manifestDigest
}

async function start(flags: RawSettings = {}) {
  const dataDir = await folder()
  const familiesDir = await folder()
  await cp(KODO, join(familiesDir, 'kodo'), { recursive: true })
  const settings = { port: 0, mqttPort: 0, planIntervalMs: 200, dataDir, familiesDir, ...flags }
  const controller = await startController(loadConfig({ flags: settings }), pino({ level: 'silent' }))
  onTestFinished(() => controller.close())
  const call = apiCaller(controller.url)
  const { manifestDigest: old } = await openFamily(KODO)
  return { ...controller, familiesDir, call, old }
}

test('brings devices to a version that came without a restart, in waves, and plans each with the version that it has', async () => {
  const { mqttPort, familiesDir, call, old } = await start()
  const devices = await Promise.all(
    Array.from({ length: 6 }, (_, i) =>
      FakeDevice.connect(mqttPort, `cam-${i}`, old, { labels: { kind: i < 5 ? 'cam' : 'lab' } }),
    ),
  )
  await until('plans', () => (devices.every(({ desired }) => desired.length > 0) ? true : undefined))
  const manifestDigest = await makeVersion(join(familiesDir, 'kodo-next'), '9.0.0')
  expect((await call('families/scan', 'POST')).json.added).toEqual([
    { family: 'kodo', version: '9.0.0', manifestDigest },
  ])

  const spec = { family: 'kodo', manifestDigest, selector: 'kind=cam', wavesPct: [20, 100], soakS: 1 }
  const preview = (await call('rollouts/preview', 'POST', spec)).json
  expect(preview).toMatchObject({ total: 5, conflicts: [], alreadyThere: 0 })
  expect(preview.waves.map(({ members }: { members: unknown[] }) => members.length)).toEqual([1, 4])
  const created = await call('rollouts', 'POST', spec)
  expect(created.status).toBe(201)
  const { id } = created.json
  const canary = devices.find((device) => device.id === preview.waves[0].members[0].device)!
  const order = await until('the order', () => canary.desired.find(({ slots }) => slots[0]!.family !== undefined))
  expect(order.slots[0]!.family).toEqual({ manifestDigest })
  expect(order.gen).toBeGreaterThan(canary.desired[0]!.gen)
  expect((await call('rollouts', 'POST', { ...spec, selector: 'site=local' })).status).toBe(409)

  const done = await until('the end', async () => {
    const { json } = await call(`rollouts/${id}`)
    return json.state === 'done' ? json : undefined
  })
  expect(done.counts).toMatchObject({ total: 5, succeeded: 5, failed: 0 })
  expect(done.waveList.map(({ state }: { state: string }) => state)).toEqual(['passed', 'passed'])
  expect(devices.map(({ version }) => version === manifestDigest)).toEqual([true, true, true, true, true, false])
  const { members } = (await call(`rollouts/${id}/members?limit=2`)).json
  expect(members[0]).toMatchObject({
    state: 'succeeded',
    fromDigest: old,
    nowDigest: manifestDigest,
    update: { state: 'committed' },
  })

  // Only the version before has the smallest variant: little bandwidth shows which version a plan is of.
  await call('budgets/site:local', 'PUT', { rateBps: 2000 })
  const variants = ({ desired }: FakeDevice) =>
    new Set(desired.at(-1)!.slots[0]!.ladder.map(({ configuration }) => configuration.variant))
  await until('ladders', () =>
    devices.every(({ desired }) => desired.at(-1)!.slots[0]!.lease.rateBps !== undefined) ? true : undefined,
  )
  const gone = JSON.parse(await readFile(join(KODO, 'manifest.json'), 'utf8')).variants.at(-1).id
  expect([...variants(devices[0]!)]).not.toContain(gone)

  // A device that joins the group later gets it as well.
  const late = await FakeDevice.connect(mqttPort, 'cam-9', old, { labels: { kind: 'cam' } })
  await until('the late one', () => (late.version === manifestDigest ? true : undefined))

  // A command sends one device back, and the rollout leaves it there.
  expect((await call('devices/cam-9/commands', 'POST', { kind: 'roll-back', slot: 'cam0' })).status).toBe(202)
  await until('the command', () => late.commands.find(({ kind }) => kind === 'roll-back'))
  expect((await call(`rollouts/${id}/members?state=withdrawn`)).json.members).toMatchObject([{ device: 'cam-9' }])
  for (const kind of ['profile', 'pause', 'resume'] as const) {
    expect((await call('devices/cam-9/commands', 'POST', { kind, slot: 'cam0' })).status).toBe(202)
    await until(kind, () => late.commands.find((command) => command.kind === kind))
  }
  expect((await call('devices/cam-9/commands', 'POST', { kind: 'pause', slot: 'cam7' })).status).toBe(404)

  const audit = (await call('audit?limit=1000')).json.entries as {
    kind: string
    action: string
    subject: string
    actor: string
    address?: string
  }[]
  const said = audit.map(({ kind, action, subject, actor }) => `${actor} ${kind} ${action} ${subject}`).reverse()
  expect(said).toEqual([
    'local family add kodo',
    `local rollout create ${id}`,
    `controller rollout wave 1 ${id}`,
    `controller rollout wave 2 ${id}`,
    `controller rollout finish ${id}`,
    'local budget set site:local',
    'local command roll-back cam-9/cam0',
    'local command profile cam-9/cam0',
    'local command pause cam-9/cam0',
    'local command resume cam-9/cam0',
  ])
  expect(audit[0]!.address).toBe('127.0.0.1')
  const page = (await call('audit?kind=command&limit=3')).json
  expect(page.entries).toHaveLength(3)
  expect((await call(`audit?kind=command&limit=3&before=${page.next}`)).json.entries).toHaveLength(1)
})

test('stops on a version that is slower on devices, with the evidence, and rolls back by hand', async () => {
  const { mqttPort, familiesDir, call, old } = await start()
  const manifestDigest = await makeVersion(join(familiesDir, 'kodo-slow'), '9.0.0')
  await call('families/scan', 'POST')
  const devices = await Promise.all(Array.from({ length: 16 }, (_, i) => FakeDevice.connect(mqttPort, `cam-${i}`, old)))
  await until('plans', () => (devices.every(({ desired }) => desired.length > 0) ? true : undefined))
  for (const [i, device] of devices.entries()) device.latencyFactor = 1 + i / 20
  await Promise.all(devices.map((device) => device.run(10)))
  const spec = { family: 'kodo', manifestDigest, wavesPct: [25, 100], soakS: 5 }
  const { id } = (await call('rollouts', 'POST', spec)).json
  await until('the first wave', () =>
    devices.filter(({ version }) => version === manifestDigest).length === 4 ? true : undefined,
  )
  await until('its soak', async () => (await call(`rollouts/${id}`)).json.waveList[0].soakEndsAt)
  // Everything became slower, and what has the new version by half as much again.
  for (const device of devices) device.latencyFactor *= device.version === manifestDigest ? 1.8 : 1.2
  await Promise.all(devices.map((device) => device.run(20)))
  const stopped = await until('the stop', async () => {
    const { json } = await call(`rollouts/${id}`)
    return json.state === 'stopped' ? json : undefined
  })
  expect(stopped.reason).toMatch(
    /^regression in wave 1: latencyP95 \d\d\.\d % worse, 15 % may be \(4 new against 12 old slots, mann-whitney/,
  )
  const evidence = stopped.waveList[0].comparisons.find(({ metric }: { metric: string }) => metric === 'latencyP95')
  expect(evidence).toMatchObject({ method: 'mann-whitney', newDevices: 4, oldDevices: 12, isRegression: true })
  expect(evidence.changePct).toBeGreaterThan(30)
  expect(evidence.changePct).toBeLessThan(70)
  expect(devices.filter(({ version }) => version === manifestDigest)).toHaveLength(4)

  expect((await call(`rollouts/${id}/resume`, 'POST', {})).status).toBe(409)
  expect((await call(`rollouts/${id}/roll-back`, 'POST', { reason: 'too slow' })).json.state).toBe('rolling-back')
  await until('the old version', () => (devices.every(({ version }) => version === old) ? true : undefined))
  const back = await until('the end', async () => {
    const { json } = await call(`rollouts/${id}`)
    return json.state === 'rolled-back' ? json : undefined
  })
  expect(back.counts).toMatchObject({ returned: 4 })
})

test('takes a family that is sent to it, asks only for the blobs that it lacks, and refuses what is not whole', async () => {
  const { url, call, familiesDir } = await start()
  const from = await folder()
  const manifestDigest = await makeVersion(from, '9.1.0')
  const extra = Buffer.from('more')
  const { createHash } = await import('node:crypto')
  const sha256 = createHash('sha256').update(extra).digest('hex')
  const manifest = JSON.parse(await readFile(join(from, 'manifest.json'), 'utf8'))
  manifest.tensors.extra = { sha256, bytes: extra.length, dtype: 'float32', shape: [1] }
  const text = JSON.stringify(manifest)
  const sent = await call('families', 'POST', { manifest: text })
  expect(sent.json.missing).toEqual([{ sha256, bytes: 4 }])
  expect(sent.json.manifestDigest).not.toBe(manifestDigest)
  const digest = sent.json.manifestDigest
  const put = (body: Buffer, name = sha256) =>
    fetch(`${url}/api/v1/families/${digest}/blobs/${name}`, {
      method: 'PUT',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/octet-stream' },
    })
  expect((await call(`families/${digest}/commit`, 'POST')).status).toBe(409)
  expect((await put(Buffer.from('less'))).status).toBe(400)
  expect((await put(Buffer.from('much more'))).status).toBe(400)
  expect((await put(extra, 'f'.repeat(64))).status).toBe(404)
  expect((await put(extra)).status).toBe(204)
  expect((await call(`families/${digest}/commit`, 'POST')).json).toEqual({
    family: 'kodo',
    version: '9.1.0',
    manifestDigest: digest,
  })
  expect((await openFamily(join(familiesDir, 'kodo-9.1.0'))).manifestDigest).toBe(digest)
  expect((await call('families')).json.map(({ version }: { version: string }) => version)).toContain('9.1.0')
  expect((await call('families', 'POST', { manifest: '{}' })).status).toBe(400)
})
