import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { DifferenceCounter } from '@espalier/agent/meter/difference-counter'
import { findSensors } from '@espalier/agent/sensors/find-sensors'
import { openPlug, plugSchema } from '@espalier/agent/sensors/plug'
import { systemFiles } from '@espalier/agent/sensors/this-system-files'
import { systemClock } from '@espalier/shared/clock'
import { Aedes } from 'aedes'
import { afterEach, describe, expect, test } from 'vitest'

const SHELLY = {
  id: 0,
  output: true,
  apower: 25.7,
  voltage: 239.7,
  aenergy: { total: 913.252, by_minute: [404.631, 404.631, 404.631], minute_ts: 1782936360 },
}
const TASMOTA = { Time: '2026-01-01T00:00:00', ENERGY: { Total: [2.813, 0.254], Power: [52, 5], Voltage: 230 } }

const closing: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A plug that answers over HTTP. */
async function serve(answer: (url: string) => { status?: number; body: string }): Promise<string> {
  const server = createHttpServer((request, response) => {
    const { status = 200, body } = answer(request.url!)
    response.writeHead(status).end(body)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  closing.push(() => new Promise((done) => server.close(done)))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A broker with a plug on it that answers as its firmware does. */
async function startBroker(): Promise<string> {
  const broker = await Aedes.createBroker()
  const server = createServer(broker.handle)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  closing.push(() => new Promise<void>((done) => broker.close(() => server.close(() => done()))))
  const say = (topic: string, body: unknown): void =>
    broker.publish(
      { cmd: 'publish', topic, payload: Buffer.from(JSON.stringify(body)), qos: 0, retain: false, dup: false },
      () => undefined,
    )
  broker.on('publish', ({ topic, payload }) => {
    if (topic === 'cmnd/desk/Status' && payload.toString() === '10') say('stat/desk/STATUS10', { StatusSNS: TASMOTA })
    if (topic === 'plug-7/rpc') {
      const { id, src, params } = JSON.parse(payload.toString())
      say(`${src}/rpc`, { id, src: 'plug-7', dst: src, result: { ...SHELLY, id: params.id } })
    }
  })
  return `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function open(settings: Record<string, unknown>) {
  const plug = openPlug(plugSchema.parse(settings))
  closing.push(() => plug.close())
  return plug
}

describe('openPlug()', () => {
  test('reads a Shelly over HTTP', async () => {
    const url = await serve((path) => ({ body: path === '/rpc/Switch.GetStatus?id=0' ? JSON.stringify(SHELLY) : '{}' }))
    expect(await open({ kind: 'shelly', url }).read()).toEqual({ watts: 25.7, joules: 913.252 * 3600 })
  })

  test('reads the chosen channel of a Tasmota over HTTP', async () => {
    const url = await serve((path) => ({
      body: path === '/cm?cmnd=Status%2010' ? JSON.stringify({ StatusSNS: TASMOTA }) : '',
    }))
    expect(await open({ kind: 'tasmota', url, channel: 1 }).read()).toEqual({ watts: 5 })
  })

  test.each([
    ['shelly', 'plug-7', { watts: 25.7, joules: 913.252 * 3600 }],
    ['tasmota', 'desk', { watts: 52 }],
  ])('asks a %s over MQTT, again and again over one connection', async (kind, topic, expected) => {
    const plug = open({ kind, topic, url: await startBroker() })
    expect(await plug.read()).toEqual(expected)
    expect(await plug.read()).toEqual(expected)
  })

  test('says what is wrong and never 0 W', async () => {
    const odd = await serve(() => ({ body: '{"StatusSNS":{"Time":"x"}}' }))
    const broken = await serve(() => ({ status: 500, body: '' }))
    await expect(open({ kind: 'tasmota', url: odd }).read()).rejects.toThrow('"ENERGY" with "Power"')
    await expect(open({ kind: 'shelly', url: broken }).read()).rejects.toThrow('found status 500')
    await expect(open({ kind: 'shelly', url: 'http://127.0.0.1:1' }).read()).rejects.toMatchObject({ code: 'STORE' })
  })
})

test('findSensors() takes the counter of a plug that is told, and its steps add up to the truth', async () => {
  let total = 100
  const url = await serve(() => ({ body: JSON.stringify({ ...SHELLY, aenergy: { total } }) }))
  const run = async (): Promise<string> => Promise.reject(Object.assign(new Error('absent'), { code: 'ENOENT' }))
  const plug = open({ kind: 'shelly', url })
  const { chosen } = await findSensors({ root: '/nowhere', files: systemFiles, run }, { plug })
  expect(chosen).toMatchObject({ preference: 'plug', watts: 25.7, measures: { kind: 'energy' } })

  const { probe, kind } = chosen!.measures
  if (kind !== 'energy' || !('rangesJ' in probe)) throw new Error('found no counter')
  const counter = new DifferenceCounter(probe, { clock: systemClock, random: Math.random, maxCpuShare: 1 })
  await counter.look()
  total = 100.002
  // Steps of a plug are seconds apart: at once they would be kilowatts, and refused as a reset.
  await delay(30)
  await counter.look()
  expect(counter.take(systemClock.monotonicMs()).joules).toBeCloseTo(7.2, 6)
})
