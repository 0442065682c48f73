import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { createAlerts } from '@espalier/controller/alert/alerts'
import { ruleBodySchema } from '@espalier/controller/alert/rule'
import { createSend, findTargetRefusal } from '@espalier/controller/alert/send-alert'
import { sendWebhook } from '@espalier/controller/alert/send-webhook'
import { loadConfig, type RawSettings } from '@espalier/controller/config'
import { EventBus } from '@espalier/controller/events'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { startController } from '@espalier/controller/main'
import { openStore } from '@espalier/controller/store/open-store'
import { systemClock } from '@espalier/shared/clock'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DEVICE, temporaryFolder } from '../unit/controller/controller-fixtures.ts'
import { apiCaller } from './api-caller.ts'
import { FakeDevice } from './fake-device.ts'
import { until } from './until.ts'

const SECRET = 'a secret of some length'
const log = pino({ level: 'silent' })

interface Received {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A receiver of webhooks that answers as it is told, one status for each request; then 200. */
async function openReceiver(statuses: number[] = []) {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    received.push({ url: request.url!, headers: request.headers, body })
    const status = statuses.shift() ?? 200
    response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end('x'.repeat(1e6))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => {
    server.closeAllConnections()
    return new Promise((done) => server.close(() => done()))
  })
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=hidden` }
}

/** As much of an SMTP server (RFC 5321) as taking mail needs: keeps what it is given, and refuses once if told to. */
async function openMailbox(refusals: string[] = []) {
  const mails: { from: string; to: string; text: string; login?: string }[] = []
  const server = createTcpServer((socket) => {
    let [from, to, login, isData, text, left] = ['', '', '', false, '', '']
    const say = (line: string) => socket.write(`${line}\r\n`)
    say('220 sink')
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      left += chunk.toString()
      for (let end = left.indexOf('\r\n'); end >= 0; end = left.indexOf('\r\n')) {
        const line = left.slice(0, end)
        left = left.slice(end + 2)
        if (isData && line === '.') {
          isData = false
          mails.push({ from, to, text, login })
          say('250 taken')
        } else if (isData) text += `${line}\n`
        else if (/^EHLO/i.test(line)) say('250-sink\r\n250 AUTH PLAIN')
        else if (/^AUTH PLAIN/i.test(line)) {
          login = Buffer.from(line.slice(11), 'base64').toString()
          say('235 hello')
        } else if (/^MAIL FROM/i.test(line)) {
          from = line
          say(refusals.shift() ?? '250 ok')
        } else if (/^RCPT TO/i.test(line)) {
          to = line
          say('250 ok')
        } else if (/^DATA/i.test(line)) {
          isData = true
          say('354 go on')
        } else if (/^QUIT/i.test(line)) socket.end('221 bye\r\n')
        else say('250 ok')
      }
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => new Promise((done) => server.close(() => done())))
  return { mails, port: (server.address() as AddressInfo).port }
}

/** The alerts of a fleet with one device, which a test takes away. */
function makeAlerts(flags: RawSettings, path = join(temporaryFolder(), 'controller.sqlite')) {
  const config = loadConfig({ flags: { webhookSecret: SECRET, ...flags } })
  const store = openStore(path)
  const fleet = new Fleet()
  const device = fleet.open(DEVICE)
  device.state = 'ready'
  const alerts = createAlerts({
    store,
    fleet,
    events: new EventBus(),
    clock: systemClock,
    log,
    plan: () => undefined,
    rollouts: () => [],
    send: createSend(config, systemClock),
    intervalMs: 1e9,
    backOffMs: 20,
  })
  let isOpen = true
  const close = async () => {
    if (isOpen) await alerts.close()
    if (isOpen) store.close()
    isOpen = false
  }
  onTestFinished(close)
  const addRule = (notify: string[]) =>
    alerts.saveRule({ id: 'away', ...ruleBodySchema.parse({ condition: 'device.offline', notify }) }, { name: 'local' })
  return { store, alerts, device, addRule, close, path }
}

/** Deliver until nothing waits. */
async function settle({ alerts, store }: ReturnType<typeof makeAlerts>): Promise<void> {
  await until('deliveries', async () => {
    await alerts.deliver()
    return store.alerts.waitingTargets().length === 0 ? true : undefined
  })
}

describe('a webhook', () => {
  test('is signed over time and body, sent again until it is taken, and comes in order', async () => {
    const { received, url } = await openReceiver([503, 429])
    const setup = makeAlerts({ webhookAllow: '127.0.0.1' })
    setup.addRule([url])
    setup.device.state = 'lost'
    setup.alerts.tick()
    setup.alerts.tick()
    setup.device.state = 'ready'
    setup.alerts.tick()
    await settle(setup)
    const events = received.map(({ body }) =>
      JSON.parse(body)
        .events.map((e: { event: string }) => e.event)
        .join(),
    )
    expect(events).toEqual(['fired', 'fired', 'fired', 'resolved'])
    const deliveries = setup.store.alerts.deliveries(10)
    expect(deliveries.map(({ state, attempts }) => [state, attempts])).toEqual([
      ['delivered', 1],
      ['delivered', 3],
    ])
    for (const { headers, body } of received) {
      const expected = createHmac('sha256', SECRET).update(`${headers['x-espalier-timestamp']}.${body}`).digest('hex')
      expect(headers['x-espalier-signature']).toBe(`sha256=${expected}`)
    }
    expect(JSON.parse(received.at(-1)!.body)).toMatchObject({
      version: 1,
      rule: 'away',
      severity: 'warning',
      events: [{ event: 'resolved', subject: DEVICE, message: `${DEVICE}: no longer device.offline` }],
    })
  })

  test('that is refused for good is not sent again, and redirects are not followed', async () => {
    for (const status of [404, 302]) {
      const { received, url } = await openReceiver([status])
      const setup = makeAlerts({ webhookAllow: '127.0.0.1' })
      setup.addRule([url])
      setup.device.state = 'lost'
      setup.alerts.tick()
      await settle(setup)
      expect(received.map((each) => each.url)).toEqual(['/hook?key=hidden'])
      const [delivery] = setup.store.alerts.deliveries(1)
      expect(delivery).toMatchObject({ state: 'failed', attempts: 1 })
      expect(delivery!.reason).toContain(`found status ${status}`)
      expect(delivery!.reason).not.toContain('hidden')
    }
  })

  test('goes to no address of this network, by number, by name or without TLS, unless that is allowed', async () => {
    const { received, url } = await openReceiver()
    const send = (to: string, allowed: string[] = []) =>
      sendWebhook(to, 1, {}, { secret: SECRET, allowed: new Set(allowed), nowMs: 0 })
    const { port } = new URL(url)
    await expect(send(url)).rejects.toThrow(/expected https:/)
    for (const host of ['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]', '2130706433', 'localhost', '169.254.169.254'])
      await expect(send(`https://${host}:${port}/`)).rejects.toMatchObject({
        message: expect.stringContaining('expected a public one'),
        retryable: false,
      })
    expect(received).toHaveLength(0)
    await send(url.replace('127.0.0.1', 'localhost'), ['localhost'])
    expect(received).toHaveLength(1)
  })

  test('outlives a restart: what waited is sent, and what fired does not fire again', async () => {
    const { received, url } = await openReceiver([500])
    const before = makeAlerts({ webhookAllow: '127.0.0.1' })
    before.addRule([url])
    before.device.state = 'lost'
    before.alerts.tick()
    await before.alerts.deliver()
    await before.close()
    const after = makeAlerts({ webhookAllow: '127.0.0.1' }, before.path)
    after.device.state = 'lost'
    after.alerts.tick()
    await settle(after)
    expect(received).toHaveLength(2)
    expect(received[0]!.headers['x-espalier-delivery']).toBe(received[1]!.headers['x-espalier-delivery'])
    expect(after.store.alerts.events({ limit: 10 }).map(({ event }) => event)).toEqual(['fired'])
  })
})

describe('e-mail', () => {
  test('says what fired, with the name and password that the settings have, and is tried again where that can help', async () => {
    const { mails, port } = await openMailbox(['451 later'])
    const setup = makeAlerts({ smtpUrl: `smtp://kim:p%40ss@127.0.0.1:${port}`, mailFrom: 'fleet@example.org' })
    setup.addRule(['mailto:ops@example.org'])
    setup.device.state = 'lost'
    setup.alerts.tick()
    await settle(setup)
    expect(mails).toHaveLength(1)
    expect(mails[0]!.login).toBe('\0kim\0p@ss')
    expect(mails[0]!.from).toContain('<fleet@example.org>')
    expect(mails[0]!.to).toContain('<ops@example.org>')
    expect(mails[0]!.text).toContain(`Subject: [warning] away: fired, ${DEVICE}`)
    expect(mails[0]!.text).toContain(`${DEVICE}: device.offline`)
    expect(setup.store.alerts.deliveries(1)[0]).toMatchObject({ state: 'delivered', attempts: 2 })
  })

  test('that is refused for good is given up, and its reason has no secret in it', async () => {
    const { mails, port } = await openMailbox(['550 no such sender as kim with p@ss'])
    const setup = makeAlerts({ smtpUrl: `smtp://kim:p%40ss@127.0.0.1:${port}`, mailFrom: 'fleet@example.org' })
    setup.addRule(['mailto:ops@example.org'])
    setup.device.state = 'lost'
    setup.alerts.tick()
    await settle(setup)
    expect(mails).toHaveLength(0)
    const [delivery] = setup.store.alerts.deliveries(1)
    expect(delivery).toMatchObject({ state: 'failed', attempts: 1 })
    expect(delivery!.reason).toContain('no such sender as kim with ***')
  })

  test('and webhooks need their settings before a rule may have them', () => {
    expect(findTargetRefusal('https://example.org/', loadConfig({}))).toMatch(/webhookSecret/)
    expect(findTargetRefusal('mailto:a@b', loadConfig({}))).toMatch(/smtpUrl/)
  })
})

test('a rule that is set through the API fires for a device that draws too much, and is resolved', async () => {
  const { received, url: hook } = await openReceiver()
  const flags = { port: 0, mqttPort: 0, planIntervalMs: 200, familiesDir: join(import.meta.dirname, '../../models') }
  const settings = { ...flags, dataDir: temporaryFolder(), webhookSecret: SECRET, webhookAllow: '127.0.0.1' }
  const controller = await startController(loadConfig({ flags: settings }), log)
  onTestFinished(() => controller.close())
  const call = apiCaller(controller.url)
  const rule = { condition: 'device.powerW > 12', severity: 'critical', notify: [hook] }
  expect((await call('alerts/rules/hot', 'PUT', { ...rule, condition: 'device.powerW > 12 dB' })).status).toBe(400)
  expect(
    (await call('alerts/rules/hot', 'PUT', { ...rule, notify: ['mailto:a@b.example'] })).json.error.message,
  ).toMatch(/smtpUrl/)
  expect((await call('alerts/rules/hot', 'PUT', rule)).status).toBe(200)
  expect((await call('alerts/rules/hot/test', 'POST')).json).toEqual({ sent: 1 })
  await until('the test', () => received.find(({ body }) => body.includes('nothing has happened')))

  const device = await FakeDevice.connect(controller.mqttPort, DEVICE, 'a'.repeat(64) as never)
  await until('a plan', () => device.desired[0])
  await device.run(8, 5)
  const firing = await until('the alert', async () => (await call('alerts')).json.alerts[0])
  expect(firing).toMatchObject({
    rule: 'hot',
    subject: DEVICE,
    state: 'firing',
    severity: 'critical',
    threshold: 12,
    unit: 'W',
  })
  expect(firing.value).toBeGreaterThan(20)
  await device.run(25, 5)
  expect((await call('alerts/rules')).json.rules).toMatchObject([{ id: 'hot', hysteresisShare: 0.05 }])
  expect((await call('alerts/rules/hot', 'DELETE')).status).toBe(204)
  expect((await call('alerts')).json.alerts).toEqual([])
  const events = (await call('alerts/events')).json.events
  expect(events.map(({ event, subject }: { event: string; subject: string }) => `${event} ${subject}`)).toContain(
    `fired ${DEVICE}`,
  )
  await until('the webhook', () =>
    received.find(({ body }) => body.includes('"event":"fired"') && body.includes('device.powerW > 12 (')),
  )
  const audit = (await call('audit?kind=alert-rule')).json.entries
  expect(audit.map(({ action }: { action: string }) => action)).toEqual(['remove', 'create'])
  expect(JSON.stringify((await call('alerts/deliveries')).json)).not.toContain('hidden')
})
