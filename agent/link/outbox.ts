import type { Clock } from '@espalier/shared/clock'
import { describeError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import type { Ack, Birth, DeviceEvent, Reported, State, Telemetry } from '@espalier/shared/messages/device'
import { type ClockQuality, formatMessage } from '@espalier/shared/messages/envelope'
import { type UpKind, upTopic } from '@espalier/shared/messages/topics'
import type { Log } from '../log.ts'
import type { Spool } from '../spool/spool.ts'
import type { PublishOptions } from './mqtt-link.ts'

/** Counters are cumulative, so an outage needs few of them: room in the spool is for events. */
const OFFLINE_TELEMETRY_EVERY_MS = 30_000

/** The part of the link that the outbox needs. */
export interface Publisher {
  readonly isConnected: boolean
  publish(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void>
}

export interface OutboxOptions {
  readonly device: DeviceId
  /** Names this run of the agent; sequences count within it. */
  readonly boot: string
  /** Starts of the agent so far; undefined: they could not be counted. */
  readonly bootNumber: number | undefined
  readonly clock: Clock
  /** How good the wall clock is now. */
  readonly clk: () => ClockQuality
  readonly spool: Spool
  readonly publisher: Publisher
  /** Number of the current birth. */
  readonly bd: () => number
  readonly log: Log
}

interface RetainedBodies {
  state: State
  birth: Birth
  reported: Reported
}

/** Puts messages in envelopes and sends them, now or through the spool, each with the service its topic asks for. */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #startMs: number
  #seq = 0
  #spooledTelemetryMs: number | undefined
  #draining: Promise<void> | undefined
  #isDrainWanted = false

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#startMs = options.clock.monotonicMs()
  }

  /** What the broker says when this device vanishes. */
  will(): { topic: string; payload: Uint8Array } {
    const body: State = { state: 'lost' }
    return { topic: upTopic(this.#options.device, 'state'), payload: this.#seal(body) }
  }

  /**
   * Publish what a topic retains. Nothing is kept for later: a new connection publishes the newest.
   *
   * @throws {TransportError} If it did not arrive.
   */
  publishRetained<Kind extends keyof RetainedBodies>(kind: Kind, body: RetainedBodies[Kind]): Promise<void> {
    const { publisher, device } = this.#options
    return publisher.publish(upTopic(device, kind), this.#seal(body), { qos: 1, retain: true })
  }

  sendTelemetry(body: Telemetry): void {
    const { publisher, device, clock, log } = this.#options
    if (publisher.isConnected) {
      publisher
        .publish(upTopic(device, 'telemetry'), this.#seal(body), { qos: 0, retain: false })
        .catch((error: unknown) => log.debug({ reason: describeError(error) }, 'telemetry lost'))
      return
    }
    const nowMs = clock.monotonicMs()
    const lastMs = this.#spooledTelemetryMs
    if (lastMs !== undefined && nowMs - lastMs < OFFLINE_TELEMETRY_EVERY_MS) return
    this.#spooledTelemetryMs = nowMs
    this.#append('telemetry', body, { isDurable: false })
  }

  sendEvent(event: DeviceEvent): void {
    this.#options.log.info({ event }, event.message)
    this.#append('event', event, { isDurable: true })
    this.drain()
  }

  sendAck(command: string, ack: Ack): void {
    this.#append(`ack/${command}`, ack, { isDurable: false })
    this.drain()
  }

  /** Send what waits in the spool, oldest first, while there is a connection. */
  drain(): void {
    this.#isDrainWanted = true
    this.#draining ??= this.#drainWhileWanted()
  }

  /** A call while one drain is ending asks for another: otherwise its record would wait for the next event. */
  async #drainWhileWanted(): Promise<void> {
    while (this.#isDrainWanted) {
      this.#isDrainWanted = false
      await this.#drainAll().catch((error: unknown) =>
        this.#options.log.debug({ reason: describeError(error) }, 'spool waits'),
      )
    }
    this.#draining = undefined
  }

  async #drainAll(): Promise<void> {
    const { publisher, spool, device } = this.#options
    for (let record = spool.peek(); record !== undefined && publisher.isConnected; record = spool.peek()) {
      const payload = new TextEncoder().encode(record.message)
      await publisher.publish(upTopic(device, record.kind as UpKind), payload, { qos: 1, retain: false })
      spool.remove(record)
    }
  }

  #append(kind: UpKind, body: unknown, options: { isDurable: boolean }): void {
    try {
      this.#options.spool.append({ kind, message: new TextDecoder().decode(this.#seal(body)) }, options)
    } catch (error) {
      // A full disk must not stop the device; the log is the only place left to say so.
      this.#options.log.error({ reason: describeError(error), kind }, 'message lost')
    }
  }

  #seal(body: unknown): Uint8Array {
    const { clock, boot, bootNumber, bd, clk } = this.#options
    return formatMessage({
      v: 1,
      bd: bd(),
      boot,
      ...(bootNumber === undefined ? {} : { bootNumber }),
      seq: this.#seq++,
      mono: Math.max(0, clock.monotonicMs() - this.#startMs),
      wall: clock.wallMs(),
      clk: clk(),
      body,
    })
  }
}
