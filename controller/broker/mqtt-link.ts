import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '@espalier/shared/clock'
import { describeError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import type { Command, Desired } from '@espalier/shared/messages/controller'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { ALL_UP_TOPICS, CONTROLLER_STATE_TOPIC, downTopic } from '@espalier/shared/messages/topics'
import type { Signed } from '@espalier/shared/signature/signed-document'
import { connect } from 'mqtt'
import type { Logger } from 'pino'

/** The controller's side of MQTT: what it hears and what it says. */
export interface MqttLink {
  isConnected(): boolean
  publishDesired(device: DeviceId, desired: Desired): Promise<void>
  /** @param capsule A signed `Capsule`. */
  publishCapsule(device: DeviceId, capsule: Signed): Promise<void>
  /** @returns The id under which the device acknowledges. */
  sendCommand(device: DeviceId, command: Command): Promise<string>
  close(): Promise<void>
}

export interface MqttLinkOptions {
  readonly url: string
  readonly credentials?: { readonly username: string; readonly password: string }
  readonly clock: Clock
  readonly log: Logger
  /** @param isRetained Kept by the broker from before this connection: nobody said it just now. */
  readonly onMessage: (topic: string, payload: Uint8Array, isRetained: boolean) => void
  /** After every (re)connection, when the subscription stands: the broker may have lost what it retained. */
  readonly onConnected: () => void
}

const RECONNECT_MS = 1000
const END_MS = 2000

export function openMqttLink(options: MqttLinkOptions): MqttLink {
  const { clock, log } = options
  const boot = randomUUID()
  const startedMs = clock.monotonicMs()
  let seq = 0
  const message = (body: unknown): Buffer =>
    Buffer.from(
      formatMessage({
        v: 1,
        bd: 0,
        boot,
        seq: seq++,
        mono: clock.monotonicMs() - startedMs,
        wall: clock.wallMs(),
        clk: 'rtc',
        body,
      }),
    )

  const client = connect(options.url, {
    ...options.credentials,
    clientId: `_controller-${boot.slice(0, 8)}`,
    clean: true,
    reconnectPeriod: RECONNECT_MS,
    will: { topic: CONTROLLER_STATE_TOPIC, payload: message({ state: 'offline' }), qos: 1, retain: true },
  })
  client.on('connect', () => {
    void (async () => {
      await client.subscribeAsync(ALL_UP_TOPICS, { qos: 1 })
      await client.publishAsync(CONTROLLER_STATE_TOPIC, message({ state: 'online' }), { qos: 1, retain: true })
      options.onConnected()
    })().catch((error: unknown) => log.warn({ reason: describeError(error) }, 'cannot announce on the broker'))
  })
  client.on('message', (topic, payload, packet) => options.onMessage(topic, payload, packet.retain))
  client.on('error', (error) => log.warn({ reason: describeError(error) }, 'MQTT connection failed'))

  return {
    isConnected: () => client.connected,
    async publishDesired(device, desired) {
      await client.publishAsync(downTopic(device, 'desired'), message(desired), { qos: 1, retain: true })
    },
    async publishCapsule(device, capsule) {
      await client.publishAsync(downTopic(device, 'capsule'), message(capsule), { qos: 1, retain: true })
    },
    async sendCommand(device, command) {
      const id = randomUUID()
      await client.publishAsync(downTopic(device, `command/${id}`), message(command), { qos: 1 })
      return id
    },
    async close() {
      const sayGoodbye = async (): Promise<void> => {
        if (client.connected)
          await client.publishAsync(CONTROLLER_STATE_TOPIC, message({ state: 'offline' }), { qos: 1, retain: true })
        await client.endAsync()
      }
      const goodbye = sayGoodbye().catch((error: unknown) =>
        log.warn({ reason: describeError(error) }, 'cannot say goodbye'),
      )
      // A broker that went away confirms neither this nor what was said before, and the client waits for both.
      await Promise.race([goodbye, delay(END_MS, undefined, { ref: false })])
      await client.endAsync(true)
      client.stream.destroy()
    },
  }
}
