import { setTimeout as delay } from 'node:timers/promises'
import { describeError, TransportError } from '@espalier/shared/errors'
import { connect, type MqttClient } from 'mqtt'
import { BackOff } from '../back-off.ts'
import type { Log } from '../log.ts'

const FIRST_RECONNECT_MS = 1000
const MAX_RECONNECT_MS = 5000
const CONNECT_TIMEOUT_MS = 10_000
/** The broker sends the will after one and a half of these without a sign of life. */
const KEEPALIVE_S = 15
const SHUTDOWN_GRACE_MS = 1000

export interface LinkOptions {
  readonly url: string
  readonly version: 4 | 5
  /** MQTT client id and user name. */
  readonly device: string
  readonly password: string | undefined
  readonly subscriptions: readonly string[]
  /** Called before each connection. */
  readonly will: () => { readonly topic: string; readonly payload: Uint8Array }
  readonly onConnected: () => Promise<void>
  /** @param isRetained Kept by the broker from before: nobody said it just now. */
  readonly onMessage: (topic: string, payload: Uint8Array, isRetained: boolean) => void
  /** In [0, 1): spreads the devices of a site that lost the same broker. */
  readonly random: () => number
  readonly log: Log
}

export interface PublishOptions {
  readonly qos: 0 | 1
  readonly retain: boolean
}

export interface Traffic {
  readonly txBytes: number
  readonly rxBytes: number
}

/** Sockets count; what is no socket (a WebSocket's stream) does not. */
function trafficOf(client: MqttClient | undefined): Traffic {
  const { bytesWritten = 0, bytesRead = 0 } = (client?.stream ?? {}) as { bytesWritten?: number; bytesRead?: number }
  return { txBytes: bytesWritten, rxBytes: bytesRead }
}

interface Session {
  readonly client: MqttClient
  /** Rejects when the connection is lost. */
  readonly lost: Promise<never>
}

/**
 * The connection to the broker, made again whenever it is lost. Each connection is a client of its own, because the
 * will must name the birth that it would end.
 */
export class MqttLink {
  readonly #options: LinkOptions
  readonly #backOff = new BackOff(FIRST_RECONNECT_MS, MAX_RECONNECT_MS)
  #session: Session | undefined
  #client: MqttClient | undefined
  /** Of connections that have ended. */
  #pastTraffic: Traffic = { txBytes: 0, rxBytes: 0 }

  constructor(options: LinkOptions) {
    this.#options = options
  }

  /** Bytes on the wire since the start, TCP and IP headers aside. */
  get traffic(): Traffic {
    const now = trafficOf(this.#client)
    return { txBytes: this.#pastTraffic.txBytes + now.txBytes, rxBytes: this.#pastTraffic.rxBytes + now.rxBytes }
  }

  get isConnected(): boolean {
    return this.#session !== undefined
  }

  /**
   * Send now. With `qos` 1, resolves when the broker has it.
   *
   * @throws {TransportError} If there is no connection, or it is lost before the broker has answered.
   */
  async publish(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void> {
    if (this.#session === undefined)
      throw new TransportError(`Cannot publish to "${topic}": not connected`, { retryable: true })
    const { client, lost } = this.#session
    await Promise.race([client.publishAsync(topic, Buffer.from(payload), options), lost]).catch((cause: unknown) => {
      throw new TransportError(`Cannot publish to "${topic}": ${describeError(cause)}`, { cause, retryable: true })
    })
  }

  /** Stay connected until aborted; then say `goodbye` and close in an orderly way, so that no will is sent. */
  async run(signal: AbortSignal, goodbye: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#runSession(signal, goodbye)
      } catch (error) {
        if (signal.aborted) return
        this.#options.log.warn({ reason: describeError(error) }, 'broker connection lost')
      }
      // Full jitter: any moment between now and the end of the wait.
      await delay(this.#backOff.next() * this.#options.random(), undefined, { signal }).catch(() => undefined)
    }
  }

  async #runSession(signal: AbortSignal, goodbye: () => Promise<void>): Promise<void> {
    const client = this.#openClient()
    this.#client = client
    const lost = new Promise<never>((_, reject) => {
      client.once('error', reject)
      client.once('close', () => reject(new TransportError('the connection was closed', { retryable: true })))
    })
    // Whoever waits for it hears of it; nobody may be waiting.
    lost.catch(() => undefined)
    let onAbort: () => void = () => undefined
    const aborted = new Promise<void>((resolve) => {
      onAbort = resolve
      if (signal.aborted) resolve()
      signal.addEventListener('abort', onAbort)
    })
    try {
      const isConnected = await Promise.race([
        new Promise<true>((resolve) => client.once('connect', () => resolve(true))),
        lost,
        aborted,
      ])
      if (isConnected !== true) return
      client.on('message', (topic, payload, { retain }) => this.#options.onMessage(topic, payload, retain))
      this.#session = { client, lost }
      // Birth and state go out before anything that was asked for can come in.
      await Promise.race([this.#options.onConnected(), lost])
      await Promise.race([client.subscribeAsync([...this.#options.subscriptions], { qos: 1 }), lost])
      this.#backOff.reset()
      this.#options.log.info('connected to the broker')
      await Promise.race([aborted, lost])
      await Promise.race([goodbye(), lost, delay(SHUTDOWN_GRACE_MS)])
      this.#session = undefined
      await Promise.race([client.endAsync(), delay(SHUTDOWN_GRACE_MS)])
    } finally {
      this.#session = undefined
      this.#pastTraffic = this.traffic
      this.#client = undefined
      signal.removeEventListener('abort', onAbort)
      client.end(true)
    }
  }

  #openClient(): MqttClient {
    const { url, version, device, password, will } = this.#options
    const { topic, payload } = will()
    const client = connect(url, {
      protocolVersion: version,
      clientId: device,
      username: device,
      ...(password === undefined ? {} : { password }),
      clean: true,
      keepalive: KEEPALIVE_S,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      // All numbers that a message may carry, as a buffer each: 7 MB, and a third of what the collector goes through.
      writeCache: false,
      will: { topic, payload: Buffer.from(payload), qos: 1, retain: true },
    })
    // Errors after the session has ended have nobody left to tell.
    client.on('error', () => undefined)
    return client
  }
}
