import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from '@espalier/controller/store/open-store'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { capsuleSchema } from '@espalier/shared/messages/capsule'
import { parseMessage } from '@espalier/shared/messages/envelope'
import { openSigned } from '@espalier/shared/signature/signed-document'
import { connectAsync, type MqttClient } from 'mqtt'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { envelope, makeBirth } from '../unit/controller/controller-fixtures.ts'
import { startAgent } from './start-agent.ts'
import { startQuietController } from './start-quiet-controller.ts'
import { until } from './until.ts'

const MODELS = join(import.meta.dirname, '../../models')

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'espalier-capsule-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

test('a device follows the capsule that its controller signed once that is gone, and the same key counts after a restart', async () => {
  const [dataDir, deviceDir] = [await folder(), await folder()]
  const settings = { dataDir, familiesDir: MODELS }
  const controller = await startQuietController(settings)
  let isOpen = true
  const close = async (): Promise<void> => {
    if (isOpen) await controller.close()
    isOpen = false
  }
  onTestFinished(close)
  const { stop } = startAgent({
    device: 'cam-9',
    dataDir: deviceDir,
    mqttUrl: `mqtt://127.0.0.1:${controller.mqttPort}`,
    controllerUrl: controller.url,
    familyDir: join(MODELS, 'kodo'),
    slots: [
      {
        slot: 'cam0',
        source: { kind: 'images', path: join(MODELS, 'clip'), frameRate: 2 },
        sink: { kind: 'discard' },
      },
    ],
  })
  onTestFinished(stop)

  const held = await until('a capsule on the device', async () =>
    readFile(join(deviceDir, 'capsule.json'), 'utf8').catch(() => undefined),
  )
  const { signed } = JSON.parse(held)
  const capsule = capsuleSchema.parse(openSigned(signed, 'capsule', undefined).document)
  expect(capsule).toMatchObject({ device: 'cam-9', slots: [{ slot: 'cam0' }] })
  expect(capsule.slots[0]!.ladder.length).toBeGreaterThan(3)
  expect((await stat(join(dataDir, 'controller-key.pem'))).mode & 0o777).toBe(0o600)

  await close()
  const spool = await until('word that the controller is gone', async () => {
    const names = await readdir(join(deviceDir, 'spool'))
    const texts = await Promise.all(
      names.map((name) => readFile(join(deviceDir, 'spool', name), 'utf8').catch(() => '')),
    )
    return texts.find((text) => text.includes('"controller-lost"'))
  })
  expect(spool).toContain(`following the capsule of generation`)

  const again = await startQuietController({ ...settings, mqttPort: controller.mqttPort })
  onTestFinished(() => again.close())
  const events = await until('the events of the outage in the database', async () => {
    const store = openStore(join(dataDir, 'controller.sqlite'))
    try {
      const kinds = store.events.recent('cam-9' as never, 100).map(({ event }) => event.kind)
      return kinds.includes('controller-back') ? kinds : undefined
    } finally {
      store.close()
    }
  })
  expect(events.filter((kind) => kind === 'controller-lost')).toHaveLength(1)
  expect(events.filter((kind) => kind === 'controller-key-trusted')).toHaveLength(1)
  const { url } = again
  const told = (await (await fetch(`${url}/api/v1/devices/cam-9/events`)).json()) as {
    kind: string
    placedBy: string
  }[]
  expect(told.find(({ kind }) => kind === 'controller-lost')).toMatchObject({ placedBy: 'contact' })
  // The key is that of before: nothing was refused.
  expect(events).not.toContain('capsule-refused')
})

test('the controller sends what it signed retained, so that a device that connects later has it', async () => {
  const dataDir = await folder()
  const controller = await startQuietController({ dataDir, familiesDir: MODELS })
  onTestFinished(() => controller.close())
  const connect = (): Promise<MqttClient> =>
    connectAsync(`mqtt://127.0.0.1:${controller.mqttPort}`, { username: 'cam-1', password: 'any' })
  const first = await connect()
  const { manifestDigest } = await openFamily(join(MODELS, 'kodo'))
  const say = (kind: string, body: unknown, seq: number) =>
    first.publishAsync(`espalier/v1/cam-1/up/${kind}`, JSON.stringify(envelope(body, { seq })), { qos: 1 })
  await say('state', { state: 'ready' }, 0)
  await say('birth', makeBirth(undefined, { family: 'kodo', manifestDigest }), 1)
  const found = await until('a retained capsule', async () => {
    const later = await connectAsync(`mqtt://127.0.0.1:${controller.mqttPort}`, {
      username: 'cam-1',
      password: 'any',
      clientId: 'later',
    })
    try {
      const message = new Promise<Uint8Array | undefined>((resolve) => {
        later.once('message', (_topic, payload, { retain }) => resolve(retain ? payload : undefined))
        setTimeout(() => resolve(undefined), 300)
      })
      await later.subscribeAsync('espalier/v1/cam-1/down/capsule', { qos: 1 })
      return await message
    } finally {
      await later.endAsync(true)
    }
  })
  const { body } = parseMessage(found, 'capsule', z.unknown())
  expect(capsuleSchema.parse(openSigned(body, 'capsule', undefined).document).device).toBe('cam-1')
  await first.endAsync(true)
})
