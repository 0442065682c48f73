import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '@espalier/controller/config'
import { startController } from '@espalier/controller/main'
import { connectAsync } from 'mqtt'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'

const PASSWORD = 'correct horse'

/** A controller that knows one device by password. */
async function start(tls: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-web-socket-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const devicePasswordsFile = join(folder, 'passwords.txt')
  await writeFile(devicePasswordsFile, `phone-1:${createHash('sha256').update(PASSWORD).digest('hex')}\n`)
  const familiesDir = join(import.meta.dirname, '../../models')
  const flags = { port: 0, mqttPort: 0, dataDir: join(folder, 'data'), familiesDir, devicePasswordsFile, ...tls }
  const controller = await startController(loadConfig({ flags }), pino({ level: 'silent' }))
  onTestFinished(() => controller.close())
  return controller.url.replace('http', 'ws')
}

const connect = (url: string, password: string) =>
  connectAsync(`${url}/mqtt`, { username: 'phone-1', password, reconnectPeriod: 0 }, false)

test('MQTT over the controller’s WebSocket keeps the broker’s passwords and topics', async () => {
  const url = await start()
  await expect(connect(url, 'wrong')).rejects.toThrow(/not authorized/i)
  const device = await connect(url, PASSWORD)
  onTestFinished(() => device.endAsync(true))
  await device.publishAsync('espalier/v1/phone-1/up/state', '{}', { qos: 1 })
  expect(await device.subscribeAsync('espalier/v1/phone-1/down/#', { qos: 1 })).toMatchObject([{ qos: 1 }])
  await expect(device.subscribeAsync('espalier/v1/phone-2/down/#', { qos: 1 })).rejects.toThrow(/Subscribe/)
  const isClosed = new Promise((closed) => device.once('close', closed))
  device.publish('espalier/v1/phone-2/up/state', '{}', { qos: 1 })
  await isClosed
})

test('an uplink takes the password from a subprotocol, where a page can put it', async () => {
  const url = await start()
  const open = (password: string | undefined): Promise<string> => {
    const token = Buffer.from(`phone-1:${password}`).toString('base64url')
    const protocols = ['espalier-uplink', ...(password === undefined ? [] : [`basic.${token}`])]
    const socket = new WebSocket(`${url}/api/v1/uplink/phone-1/cam0`, protocols)
    onTestFinished(() => socket.terminate())
    return new Promise((resolve) => {
      socket.once('open', () => resolve(`open, ${socket.protocol}`))
      socket.once('error', ({ message }) => resolve(message))
    })
  }
  expect(await open(PASSWORD)).toBe('open, espalier-uplink')
  expect(await open('wrong')).toContain('401')
  expect(await open(undefined)).toContain('401')
})

test('with a certificate, API, pages and devices come over TLS, and a certificate without its key is refused', async ({
  skip,
}) => {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-tls-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [tlsCertFile, tlsKeyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
    ...subject,
    ...['-keyout', tlsKeyFile, '-out', tlsCertFile],
  ])
  if (made.status !== 0) {
    console.warn('SKIPPED TLS: no "openssl" to make a certificate with')
    return skip()
  }
  expect(() => loadConfig({ flags: { tlsCertFile } })).toThrow(/expected both "tlsCertFile" and "tlsKeyFile"/)
  const url = await start({ tlsCertFile, tlsKeyFile })
  expect(url).toMatch(/^wss:/)
  const ca = await readFile(tlsCertFile)
  const device = await connectAsync(
    `${url}/mqtt`,
    { username: 'phone-1', password: PASSWORD, reconnectPeriod: 0, ca },
    false,
  )
  onTestFinished(() => device.endAsync(true))
  await device.publishAsync('espalier/v1/phone-1/up/state', '{}', { qos: 1 })
  const health = await new Promise<number | undefined>((resolve, reject) =>
    get(`${url.replace('wss', 'https')}/api/v1/health`, { ca }, ({ statusCode }) => resolve(statusCode)).on(
      'error',
      reject,
    ),
  )
  expect(health).toBe(200)
})
