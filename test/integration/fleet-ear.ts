import { createServer, type Server } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { DeviceId, SlotId } from '@espalier/shared/ids'
import { formatMessage, parseMessage } from '@espalier/shared/messages/envelope'
import { downTopic, parseUpTopic } from '@espalier/shared/messages/topics'
import { decodeUplinkFrame, type UplinkFrame } from '@espalier/shared/messages/uplink'
import { Aedes } from 'aedes'
import { expect } from 'vitest'
import { WebSocketServer } from 'ws'
import type { z } from 'zod'

/** Everything devices said, and the means to wait for something to be said. */
export class FleetEar {
  readonly #device: DeviceId
  readonly #slot: SlotId
  broker!: Aedes
  #server!: Server
  #sockets!: WebSocketServer
  readonly said: Array<{ kind: string; payload: Buffer; retain: boolean; qos: number }> = []
  readonly frames: UplinkFrame[] = []
  mqttPort = 0
  uplinkPort = 0

  constructor(device: DeviceId, slot: SlotId) {
    this.#device = device
    this.#slot = slot
  }

  async open(mqttPort = 0): Promise<void> {
    this.broker = await Aedes.createBroker()
    this.#server = createServer(this.broker.handle)
    await new Promise<void>((done) => this.#server.listen(mqttPort, '127.0.0.1', done))
    this.mqttPort = (this.#server.address() as { port: number }).port
    this.broker.on('publish', ({ topic, payload, retain, qos }) => {
      const kind = parseUpTopic(topic)?.kind
      if (kind !== undefined) this.said.push({ kind, payload: Buffer.from(payload), retain, qos })
    })
    this.#sockets = new WebSocketServer({ port: this.uplinkPort, host: '127.0.0.1' })
    await new Promise((done) => this.#sockets.once('listening', done))
    this.uplinkPort = (this.#sockets.address() as { port: number }).port
    this.#sockets.on('connection', (socket, request) => {
      expect(request.url).toBe(`/api/v1/uplink/${this.#device}/${this.#slot}`)
      socket.on('message', (data) => this.frames.push(decodeUplinkFrame(data as Buffer)))
    })
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate()
    await new Promise((done) => this.#sockets.close(done))
    await new Promise<void>((done) => this.broker.close(done))
    await new Promise((done) => this.#server.close(done))
  }

  heard<Body>(kind: string, schema: z.ZodType<Body>) {
    return this.said.filter((said) => said.kind === kind).map(({ payload }) => parseMessage(payload, kind, schema))
  }

  async until<Body>(
    kind: string,
    schema: z.ZodType<Body>,
    isIt: (body: Body) => boolean = () => true,
    from = 0,
  ): Promise<Body> {
    for (;;) {
      const found = this.said
        .slice(from)
        .filter((said) => said.kind === kind)
        .map(({ payload }) => parseMessage(payload, kind, schema).body)
        .find(isIt)
      if (found !== undefined) return found
      await delay(25)
    }
  }

  tell(kind: 'desired' | `command/${string}`, body: unknown): Promise<void> {
    const payload = Buffer.from(formatMessage({ v: 1, bd: 0, boot: 'c', seq: 0, mono: 0, wall: 0, clk: 'none', body }))
    return new Promise((done, failed) =>
      this.broker.publish(
        {
          cmd: 'publish',
          topic: downTopic(this.#device, kind),
          payload,
          qos: 1,
          retain: kind === 'desired',
          dup: false,
        },
        (error) => (error ? failed(error) : done()),
      ),
    )
  }
}
