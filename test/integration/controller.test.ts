import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startBroker } from '@espalier/controller/broker/embedded-broker'
import { loadConfig, type RawSettings } from '@espalier/controller/config'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference } from '@espalier/shared/codec/picture-codec'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { ConfigError } from '@espalier/shared/errors'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { commandSchema, type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import { formatMessage, parseMessage } from '@espalier/shared/messages/envelope'
import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { connectAsync, type MqttClient } from 'mqtt'
import sharp from 'sharp'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { DEVICE, envelope, makeBirth, makeTelemetry, SLOT } from '../unit/controller/controller-fixtures.ts'
import { startQuietController } from './start-quiet-controller.ts'
import { TcpWay } from './tcp-way.ts'
import { until } from './until.ts'

const FAMILIES = join(import.meta.dirname, '../../models')

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'espalier-controller-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

async function start(dataDir: string, flags: RawSettings = {}) {
  const controller = await startQuietController({ dataDir, familiesDir: FAMILIES, ...flags })
  let isOpen = true
  const close = async () => {
    if (isOpen) await controller.close()
    isOpen = false
  }
  onTestFinished(close)
  return { ...controller, close }
}

async function call(url: string, path: string, init?: RequestInit) {
  const headers = init?.body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(`${url}/api/v1/${path}`, { ...init, headers: { ...headers, ...init?.headers } })
  const text = await response.text()
  return { status: response.status, json: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text }
}

/** A device that only speaks: what a real agent would say, at once. */
class FakeDevice {
  readonly client: MqttClient
  readonly desired: Desired[] = []
  readonly commands: string[] = []
  readonly asked: string[] = []
  #seq = 0
  #frames = 0
  #bits = 0
  #seconds = 0
  #swaps = 0

  constructor(client: MqttClient) {
    this.client = client
    client.on('message', (topic, payload) => {
      if (topic.endsWith('/desired')) this.desired.push(parseMessage(payload, 'desired', desiredSchema).body)
      if (!topic.includes('/command/')) return
      this.commands.push(topic)
      this.asked.push(parseMessage(payload, 'command', commandSchema).body.kind)
    })
  }

  static async connect(mqttPort: number): Promise<FakeDevice> {
    const client = await connectAsync(`mqtt://127.0.0.1:${mqttPort}`, { username: DEVICE, password: 'any' })
    onTestFinished(() => client.endAsync(true))
    const device = new FakeDevice(client)
    await client.subscribeAsync(`espalier/v1/${DEVICE}/down/#`, { qos: 1 })
    return device
  }

  async say(kind: string, body: unknown): Promise<void> {
    const payload = Buffer.from(formatMessage(envelope(body, { seq: this.#seq++ })))
    await this.client.publishAsync(`espalier/v1/${DEVICE}/up/${kind}`, payload, { qos: 1 })
  }

  async beBorn(): Promise<void> {
    const { manifestDigest } = await openFamily(join(FAMILIES, 'kodo'))
    await this.say('state', { state: 'ready' })
    await this.say('birth', makeBirth(DEVICE, { family: 'kodo', manifestDigest }))
  }

  /** One second of running a configuration whose frames take `bitsPerFrame`. */
  async run(configuration: Configuration, bitsPerFrame: number, isSwap = false): Promise<void> {
    this.#seconds++
    this.#frames += configuration.frameRate
    this.#bits += configuration.frameRate * bitsPerFrame
    if (isSwap) this.#swaps++
    const slots = [{ slot: SLOT, configuration, phase: 'applied' }]
    await this.say('reported', { gen: this.desired.at(-1)?.gen ?? 0, slots })
    const frames = Math.floor(this.#frames)
    const counted = { frames, bits: this.#bits, joules: 0.5 * this.#frames + this.#seconds, idleJoules: this.#seconds }
    await this.say(
      'telemetry',
      makeTelemetry(configuration, { ...counted, seconds: this.#seconds, swaps: this.#swaps }),
    )
  }
}

describe('the controller', () => {
  test('plans a device from its birth, squeezes it into a budget, and says that the uplink binds', async () => {
    const { url, mqttPort } = await start(await folder())
    const device = await FakeDevice.connect(mqttPort)
    await device.beBorn()
    const first = await until('desired', () => device.desired.at(-1))
    const ample = first.slots[0]!.ladder[0]!
    expect(ample.configuration).toMatchObject({ family: 'kodo', alpha255: 0, width: 256, height: 192, frameRate: 5 })
    expect(first.slots[0]!.lease).toEqual({ ttlS: expect.any(Number) })

    for (let second = 0; second < 6; second++) await device.run(ample.configuration, 40_000)
    const budget = 80_000
    expect(
      (await call(url, 'budgets/site:local', { method: 'PUT', body: JSON.stringify({ rateBps: budget }) })).status,
    ).toBe(200)
    const squeezed = await until('less', () =>
      device.desired.find(({ slots }) => slots[0]!.lease.rateBps !== undefined),
    )
    const [chosen] = squeezed.slots[0]!.ladder
    expect(squeezed.gen).toBeGreaterThan(first.gen)
    expect(chosen!.rateBps).toBeLessThanOrEqual(budget)
    expect(chosen!.rateBps).toBeGreaterThan(0.3 * budget)
    expect(squeezed.slots[0]!.lease.rateBps).toBeLessThanOrEqual(0.97 * budget)
    expect(squeezed.slots[0]!.prices.lambda).toBeGreaterThan(0)

    const why = await call(url, `devices/${DEVICE}/why`)
    expect(why.json.now[0].why.binding).toBe('uplink site:local')
    expect(why.json.now[0].why.price).toMatch(/^1 kbit\/s more on site:local is worth/)
    expect(why.json.history[0].gen).toBeGreaterThanOrEqual(squeezed.gen)

    const ask = (budgets: unknown) => call(url, 'plan/what-if', { method: 'POST', body: JSON.stringify({ budgets }) })
    const released = (await ask([{ key: 'site:local' }])).json
    expect(released.changes).toMatchObject([
      { device: DEVICE, site: 'local', now: { configurationId: why.json.now[0].why.chosen } },
    ])
    expect(released.after.psnrDb).toBeGreaterThan(released.now.psnrDb)
    expect(released.rows).toMatchObject([{ key: 'site:local', now: { limit: budget, isKept: true } }])
    expect(released.rows[0].after).toBeUndefined()
    expect((await ask([])).json.slots).toEqual({ total: 1, changed: 0 })
    expect((await ask([{ key: 'site:local', powerW: 1 }])).status).toBe(400)
    // Nothing of that was committed.
    expect((await call(url, 'budgets')).json.budgets).toEqual([{ key: 'site:local', rateBps: budget }])

    await device.run(chosen!.configuration, 9000, true)
    const view = await until('the seventh second', async () => {
      const [found] = (await call(url, 'devices')).json
      return found.swaps === 1 ? found : undefined
    })
    expect(view).toMatchObject({ id: DEVICE, site: 'local', state: 'ready', phase: 'applied', dropped: 0 })
    expect(view.configurationId).toBe(configurationId(chosen!.configuration))
    expect(view.joulesPerFrame).toMatchObject({ source: 'model:test', scope: 'modelled' })

    expect((await call(url, 'budgets/site:local', { method: 'DELETE' })).status).toBe(204)
    const freed = await until('release', () =>
      device.desired.find(({ gen, slots }) => gen > squeezed.gen && slots[0]!.lease.rateBps === undefined),
    )
    expect(freed.slots[0]!.lease.rateBps).toBeUndefined()
  })

  test('remembers over a restart, publishes what it had decided again and asks devices who they are', async () => {
    const dataDir = await folder()
    const before = await start(dataDir)
    const device = await FakeDevice.connect(before.mqttPort)
    await device.beBorn()
    const gen = (await until('desired', () => device.desired.at(-1))).gen
    await call(before.url, 'budgets/fleet', { method: 'PUT', body: JSON.stringify({ powerW: 50 }) })
    await before.close()

    const after = await start(dataDir)
    const again = await FakeDevice.connect(after.mqttPort)
    expect((await until('desired', () => again.desired.at(-1))).gen).toBeGreaterThanOrEqual(gen)
    expect((await call(after.url, 'budgets')).json.budgets).toEqual([{ key: 'fleet', powerW: 50 }])
    await again.say('reported', { gen: 500, slots: [] })
    await again.beBorn()
    await call(after.url, 'budgets/site:local', { method: 'PUT', body: JSON.stringify({ rateBps: 50_000 }) })
    await until('a generation beyond what the device has seen', () => again.desired.find((d) => d.gen > 500))
  })

  test('plans over a broker that is not its own, and goes on when that broker comes back without its memory', async () => {
    const open = (port: number) =>
      startBroker({ host: '127.0.0.1', port, controllerPassword: 'secret', passwords: undefined })
    const broker = await open(0)
    // The controller comes back after the device, or nobody hears its question.
    const way = await TcpWay.open(broker.port)
    const { url } = await start(await folder(), { brokerUrl: `mqtt://_controller:secret@127.0.0.1:${way.port}` })
    const device = await FakeDevice.connect(broker.port)
    await device.beBorn()
    const { gen } = await until('desired', () => device.desired.at(-1))
    way.isOpen = false
    await broker.close()
    await until('the loss', async () => ((await call(url, 'health')).json.status === 'degraded' ? true : undefined))

    const again = await open(broker.port)
    onTestFinished(() => again.close())
    const later = await FakeDevice.connect(broker.port)
    way.isOpen = true
    expect((await until('desired again', () => later.desired.at(-1))).gen).toBeGreaterThanOrEqual(gen)
    await until('a question', () => later.commands[0] ?? device.commands[0])
  })

  test('ends though its broker confirms nothing any more', async () => {
    const broker = await startBroker({ host: '127.0.0.1', port: 0, controllerPassword: 'secret', passwords: undefined })
    onTestFinished(() => broker.close())
    const way = await TcpWay.open(broker.port)
    const { url, close } = await start(await folder(), {
      brokerUrl: `mqtt://_controller:secret@127.0.0.1:${way.port}`,
    })
    await until('the broker', async () => ((await call(url, 'health')).json.status === 'ok' ? true : undefined))
    way.silence()
    await close()
  })

  test('asks a device of which it knows no birth to say it again', async () => {
    const { mqttPort } = await start(await folder())
    const device = await FakeDevice.connect(mqttPort)
    await device.say('state', { state: 'ready' })
    await until('a command', () => device.commands[0])
  })

  test('takes frames over the uplink, counts what is missing and shows the last one as PNG', async () => {
    const { url, mqttPort } = await start(await folder())
    const device = await FakeDevice.connect(mqttPort)
    await device.beBorn()
    const codec = await openFamilyCodec(join(FAMILIES, 'kodo'), { threads: 1 })
    onTestFinished(() => codec.close())
    const { stream } = await codec.encode(
      { width: 64, height: 48, rgb: new Uint8Array(64 * 48 * 3).fill(120) },
      { variant: 'full', alpha255: 128 },
    )
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/uplink/${DEVICE}/${SLOT}`)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    for (const sequence of [0, 1, 4]) socket.send(encodeUplinkFrame({ sequence, capturedWallMs: 0, stream }))
    const slot = await until('frames', async () => {
      const [view] = (await call(url, 'devices')).json
      return view.slots[0]?.uplink?.frames === 3 ? view.slots[0] : undefined
    })
    expect(slot.uplink).toMatchObject({ sequence: 4, missing: 2, bytes: 3 * (stream.byteLength + 16) })
    const image = `${url}/api/v1/devices/${DEVICE}/slots/${SLOT}/frame.png`
    const [first, second] = await Promise.all([fetch(image), fetch(image)])
    expect(first!.headers.get('content-type')).toBe('image/png')
    const png = Buffer.from(await first!.arrayBuffer())
    expect(await sharp(png).metadata()).toMatchObject({ width: 64, height: 48, format: 'png' })
    expect(Buffer.from(await second!.arrayBuffer()).equals(png)).toBe(true)

    socket.send(encodeUplinkFrame({ sequence: 5, capturedWallMs: 0, stream: stream.subarray(0, 40) }))
    const refused = await until('refusal', async () => {
      const response = await fetch(image)
      return response.status === 200 ? undefined : response
    })
    expect(await refused.json()).toMatchObject({ error: { code: 'INTEGRITY' } })
    await until('a request for a key frame', () => device.asked.find((kind) => kind === 'key-frame'))
    socket.terminate()
  })

  test('shows a frame that follows others, and nothing wrong once one of them is lost', async () => {
    const { url, mqttPort } = await start(await folder())
    const device = await FakeDevice.connect(mqttPort)
    await device.beBorn()
    const codec = await openFamilyCodec(join(FAMILIES, 'kodo'), { threads: 1 })
    onTestFinished(() => codec.close())
    const streams: Uint8Array[] = []
    let reference: FrameReference | undefined
    for (let step = 0; step < 4; step++) {
      const rgb = new Uint8Array(64 * 48 * 3).map((_, i) => ((i * 31) % 160) + (i < 3000 ? step * 25 : 0))
      const picture = { width: 64, height: 48, rgb }
      const encoded = await codec.encode(picture, { variant: 'full', alpha255: 60, reference })
      expect(encoded.frameKind).toBe(step === 0 ? 'key' : 'inter')
      reference = encoded.reference
      streams.push(encoded.stream)
    }
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/uplink/${DEVICE}/${SLOT}`)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const send = (sequence: number) =>
      socket.send(encodeUplinkFrame({ sequence, capturedWallMs: 0, stream: streams[sequence]! }))
    const image = `${url}/api/v1/devices/${DEVICE}/slots/${SLOT}/frame.png`
    const arrived = (sequence: number) =>
      until(`frame ${sequence}`, async () => {
        const [view] = (await call(url, 'devices')).json
        return view.slots[0]?.uplink?.sequence === sequence || undefined
      })
    send(0)
    send(1)
    await arrived(1)
    expect((await fetch(image)).status).toBe(200)
    send(3)
    await arrived(3)
    expect(await (await fetch(image)).json()).toMatchObject({ error: { code: 'INTEGRITY' } })
    await until('a request for a key frame', () => device.asked.find((kind) => kind === 'key-frame'))
    socket.terminate()
  })

  test('drops what is malformed or speaks for another device, and counts it', async () => {
    const { url, mqttPort } = await start(await folder())
    const device = await FakeDevice.connect(mqttPort)
    await device.client.publishAsync(`espalier/v1/${DEVICE}/up/birth`, 'no JSON', { qos: 1 })
    await device.say('birth', { ...makeBirth(), device: 'cam-2' })
    await device.say('unknown-kind', {})
    const health = await until('three', async () => {
      const { json } = await call(url, 'health')
      return json.messages.malformed === 3 ? json : undefined
    })
    expect(health.status).toBe('ok')
    expect((await call(url, 'devices')).json.map((d: { id: string }) => d.id)).toEqual([DEVICE])
  })
})

describe('the embedded broker', () => {
  test('lets a device publish below its own name only, will included', async () => {
    const { url, mqttPort } = await start(await folder())
    const own = await FakeDevice.connect(mqttPort)
    await own.say('state', { state: 'ready' })
    const address = `mqtt://127.0.0.1:${mqttPort}`
    const spy = await connectAsync(address, { username: 'spy', password: 'x', reconnectPeriod: 0 })
    onTestFinished(() => spy.endAsync(true))
    const refused = [`espalier/v1/${DEVICE}/down/#`, 'espalier/v1/+/up/#', '#', '$share/g/espalier/v1/+/up/#']
    for (const topic of refused) {
      const granted = await spy.subscribeAsync(topic, { qos: 1 }).catch(() => [{ qos: 128 }])
      expect(granted.map(({ qos }) => qos)).toEqual([128])
    }
    expect((await spy.subscribeAsync(['espalier/v1/spy/down/#', 'espalier/v1/_controller/state'])).length).toBe(2)
    const forged = formatMessage(envelope({ state: 'offline' }, { seq: 99, bd: 99 }))
    // The broker answers a forbidden publication by closing the connection.
    const closed = new Promise((resolve) => spy.once('close', resolve))
    spy.publish(`espalier/v1/${DEVICE}/up/state`, Buffer.from(forged), { qos: 1 })
    await closed
    const will = {
      topic: `espalier/v1/${DEVICE}/up/state`,
      payload: Buffer.from(forged),
      qos: 1 as const,
      retain: false,
    }
    const dying = await connectAsync(address, { username: 'dying', password: 'x', reconnectPeriod: 0, will })
    onTestFinished(() => dying.endAsync(true))
    dying.stream.destroy()
    await own.say('event', { kind: 'marker', message: 'after the forgeries' })
    await until('the marker', async () => ((await call(url, 'health')).json.messages.received >= 2 ? true : undefined))
    expect((await call(url, 'devices')).json).toMatchObject([{ id: DEVICE, state: 'ready' }])
  })

  test('refuses a wrong password, a foreign user name, and everything beyond loopback without a file of passwords', async () => {
    const dataDir = await folder()
    const devicePasswordsFile = join(dataDir, 'passwords.txt')
    const sha256 = createHash('sha256').update('right').digest('hex')
    await writeFile(devicePasswordsFile, `# devices\n${DEVICE}:${sha256}\n`)
    const { url, mqttPort } = await start(dataDir, { devicePasswordsFile })
    const connect = (username: string, password: string) =>
      connectAsync(`mqtt://127.0.0.1:${mqttPort}`, { username, password, reconnectPeriod: 0 }, false)
    await expect(connect(DEVICE, 'wrong')).rejects.toThrow(/Not authorized/)
    await expect(connect('_controller', 'right')).rejects.toThrow(/Not authorized/)
    await expect(connect('cam-9', 'right')).rejects.toThrow(/Not authorized/)
    const client = await connect(DEVICE, 'right')
    await client.endAsync()
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/uplink/${DEVICE}/${SLOT}`)
    await expect(new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))).rejects.toThrow(
      /401/,
    )
    expect(() => loadConfig({ flags: { host: '0.0.0.0' } })).toThrow(ConfigError)
    expect(() => loadConfig({ flags: { mqttHost: '::' } })).toThrow(/devicePasswordsFile/)
  })
})

describe('the API', () => {
  test('answers unknown names with 404 and bad bodies with 400, in one form', async () => {
    const { url } = await start(await folder())
    const put = (key: string, body: unknown) =>
      call(url, `budgets/${key}`, { method: 'PUT', body: JSON.stringify(body) })
    const answers = [
      [await call(url, 'devices/nobody'), 404],
      [await call(url, 'nothing'), 404],
      [await put('planet', { powerW: 1 }), 404],
      [await put('site:a', { powerW: 1 }), 400],
      [await put('fleet', { powerW: -1 }), 400],
      [await put('fleet', { watts: 1 }), 400],
      [await put('fleet', {}), 400],
      [await put('gateway:mast', { carbonGPerKwh: 1 }), 400],
      [await call(url, 'plan/what-if', { method: 'POST', body: '{}' }), 400],
    ] as const
    for (const [{ status, json }, expected] of answers) {
      expect(status).toBe(expected)
      expect(json).toEqual({ error: { code: expect.any(String), message: expect.stringMatching(/^Cannot /) } })
    }
  })

  test('refuses requests of pages elsewhere: a foreign name that resolves here, and a foreign origin', async () => {
    const { url } = await start(await folder())
    const { request } = await import('node:http')
    const status = (headers: Record<string, string>, method = 'GET') =>
      new Promise<number | undefined>((resolve, reject) => {
        request(`${url}/api/v1/budgets/fleet`, { method, headers }, (response) => resolve(response.resume().statusCode))
          .once('error', reject)
          .end()
      })
    expect(await status({ host: 'attacker.example' }, 'DELETE')).toBe(403)
    expect(await status({ origin: 'http://attacker.example' }, 'DELETE')).toBe(403)
    expect(await status({ 'sec-fetch-site': 'cross-site' }, 'DELETE')).toBe(403)
    expect(await status({ origin: url, host: new URL(url).host }, 'DELETE')).toBe(204)
  })

  test('shows its page, its documentation, metrics and events without anything from elsewhere', async () => {
    const { url, mqttPort } = await start(await folder())
    const page = await (await fetch(`${url}/`)).text()
    expect(page).toContain('<title>Espalier')
    expect(page).not.toMatch(/(src|href)="https?:/)
    expect((await fetch(`${url}/api/docs/`)).status).toBe(200)
    const openApi = (await (await fetch(`${url}/api/docs/json`)).json()) as { paths: object }
    expect(Object.keys(openApi.paths)).toContain('/api/v1/budgets/{key}')
    const metrics = await (await fetch(`${url}/api/v1/metrics`)).text()
    expect(metrics).toContain('# TYPE espalier_inference_energy_joules_total counter')

    const events = await fetch(`${url}/api/v1/events`)
    const device = await FakeDevice.connect(mqttPort)
    await device.beBorn()
    const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    while (!text.includes('event: plan')) text += (await reader.read()).value ?? ''
    expect(text).toContain('event: device')
    await reader.cancel()
  })
})
