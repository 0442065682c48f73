import type { Clock } from '@espalier/shared/clock'
import { parseConfigurationId } from '@espalier/shared/configuration'
import { describeError, MessageError, StoreError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import {
  ackSchema,
  birthSchema,
  eventSchema,
  reportedSchema,
  stateSchema,
  telemetrySchema,
} from '@espalier/shared/messages/device'
import { type Envelope, parseMessage } from '@espalier/shared/messages/envelope'
import { parseUpTopic } from '@espalier/shared/messages/topics'
import type { Logger } from 'pino'
import type { EventBus } from '../events.ts'
import { type Families, familyOf } from '../families.ts'
import { predictNominal } from '../plan/predict.ts'
import type { Store } from '../store/open-store.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import { type DeviceRecord, type Fleet, isConnected } from './fleet.ts'
import { extendWindow } from './recent-window.ts'
import { windowBetween } from './window.ts'

export interface IngestOptions {
  readonly store: Store
  readonly fleet: Fleet
  readonly families: Families
  readonly events: EventBus
  readonly clock: Clock
  readonly log: Logger
  /** Something changed that the plan must follow at once. */
  readonly onChange: (reason: string) => void
  /** A device was born: it must hear what it should run, even if that did not change. */
  readonly onBirth: (device: DeviceId) => void
  /** A device speaks of which the birth is not known. */
  readonly onUnknown: (device: DeviceId) => void
  /** Counters were taken in; `before` is the message before it of the same boot. */
  readonly onTelemetry?: (device: DeviceRecord, after: TelemetryRow, before: TelemetryRow | undefined) => void
}

export interface Ingest {
  /**
   * Take a message from a device in. Never throws for what a peer sent or a disk refused.
   *
   * @param isRetained The broker kept it from before: it tells nothing of when it was said.
   */
  receive(topic: string, payload: Uint8Array, isRetained?: boolean): void
  counts(): {
    readonly received: number
    readonly malformed: number
    readonly repeated: number
    readonly unstored: number
  }
}

export function createIngest(options: IngestOptions): Ingest {
  const { store, fleet, events, clock, log } = options
  const counts = { received: 0, malformed: 0, repeated: 0, unstored: 0 }

  const save = ({ id, state, reason, bd, lastSeenMs }: DeviceRecord): void =>
    store.devices.save({ id, state, reason, bd, lastSeenMs })

  /**
   * What a message says of its boot. Only what is never spooled, and no will, is known to be fresh: those say when the boot
   * was; the rest is placed by them.
   */
  const noteBoot = (device: DeviceRecord, envelope: Envelope, isFresh: boolean): void =>
    store.boots.note(device.id, envelope, isFresh ? clock.wallMs() : undefined)

  type Handler = (device: DeviceRecord, payload: Uint8Array, isRetained: boolean, kind: string) => void
  const handlers: Record<string, Handler> = {
    state(device, payload, isRetained) {
      const envelope = parseMessage(payload, 'state', stateSchema)
      const { bd, body } = envelope
      noteBoot(device, envelope, !isRetained && body.state !== 'lost')
      // A will that the broker kept from an older session ends nothing.
      if (bd < device.bd) return
      const wasConnected = isConnected(device)
      Object.assign(device, { state: body.state, reason: body.reason, bd })
      save(device)
      events.emit({ kind: 'device', data: { device: device.id, what: 'state', detail: body.state } })
      if (wasConnected !== isConnected(device)) options.onChange(`"${device.id}" is ${body.state}`)
      if (isConnected(device) && device.birth === undefined) options.onUnknown(device.id)
    },

    birth(device, payload, isRetained) {
      const envelope = parseMessage(payload, 'birth', birthSchema)
      const { bd, body } = envelope
      if (body.device !== device.id)
        throw new MessageError(`Cannot read message "birth": found device "${body.device}", expected "${device.id}"`)
      noteBoot(device, envelope, !isRetained)
      if (bd < device.bd) return
      device.bd = bd
      if (!isConnected(device)) device.state = 'init'
      device.birth = body
      store.births.save(device.id, body, clock.wallMs())
      save(device)
      for (const { slot, family, manifestDigest } of body.slots) {
        const known = options.families.version(manifestDigest) ?? options.families.get(family)
        if (known === undefined) log.warn({ device: device.id, slot, family }, 'unknown family: slot is not planned')
        else if (known.manifestDigest !== manifestDigest)
          log.warn({ device: device.id, slot, family }, 'device has a version of the family that is not here')
      }
      events.emit({ kind: 'device', data: { device: device.id, what: 'birth' } })
      options.onBirth(device.id)
    },

    reported(device, payload, isRetained) {
      const envelope = parseMessage(payload, 'reported', reportedSchema)
      const { body } = envelope
      noteBoot(device, envelope, !isRetained)
      device.reported = body
      if (body.gen > (device.desired?.gen ?? 0)) {
        store.desired.raiseTo(body.gen)
        options.onBirth(device.id)
      }
      events.emit({ kind: 'device', data: { device: device.id, what: 'reported' } })
    },

    telemetry(device, payload) {
      const envelope = parseMessage(payload, 'telemetry', telemetrySchema)
      noteBoot(device, envelope, false)
      const taken = store.telemetry.accumulate(device.id, envelope, clock.wallMs())
      if (taken === undefined) {
        counts.repeated++
        return
      }
      device.recent = extendWindow(device.recent, taken.after)
      if (device.birth === undefined) options.onUnknown(device.id)
      else if (taken.before !== undefined) learn(device, taken.before, taken.after)
      options.onTelemetry?.(device, taken.after, taken.before)
      events.emit({ kind: 'device', data: { device: device.id, what: 'telemetry' } })
    },

    event(device, payload) {
      const envelope = parseMessage(payload, 'event', eventSchema)
      const { body } = envelope
      noteBoot(device, envelope, false)
      if (!store.events.add(device.id, envelope, clock.wallMs())) {
        counts.repeated++
        return
      }
      log.info({ device: device.id, ...body }, 'device event')
      events.emit({ kind: 'device', data: { device: device.id, what: 'event', detail: body } })
    },

    ack(device, payload, _isRetained, kind) {
      const { body } = parseMessage(payload, 'ack', ackSchema)
      const command = kind.slice('ack/'.length)
      events.emit({ kind: 'device', data: { device: device.id, what: 'ack', detail: { command, ...body } } })
    },
  }

  function learn(device: DeviceRecord, before: TelemetryRow, after: TelemetryRow): void {
    for (const birth of device.birth!.slots) {
      const window = windowBetween(before, after, birth.slot)
      const configuration = window && parseConfigurationId(window.configuration)
      const manifest = familyOf(options.families, device, birth)?.manifest
      if (window === undefined || configuration === undefined || manifest === undefined) continue
      if (manifest.variants.every(({ id }) => id !== configuration.variant)) continue
      const nominal = predictNominal(configuration, birth, manifest)
      const { estimate, notices } = fleet.beliefs.learn(device, birth, window, nominal, clock.wallMs())
      store.telemetry.saveEstimate(device.id, birth.slot, estimate)
      for (const notice of notices) {
        log.warn(notice, 'alarm')
        events.emit({ kind: 'alarm', data: notice })
      }
    }
  }

  return {
    receive(topic, payload, isRetained = false) {
      counts.received++
      const parsed = parseUpTopic(topic)
      const handler = parsed && handlers[parsed.kind.startsWith('ack/') ? 'ack' : parsed.kind]
      if (parsed === undefined || handler === undefined) {
        counts.malformed++
        log.warn({ topic }, 'message on an unknown topic dropped')
        return
      }
      const device = fleet.open(parsed.device)
      try {
        // All that one message says is on disk together: commits cost more than what is written.
        store.atomically(() => handler(device, payload, isRetained, parsed.kind))
        device.lastSeenMs = clock.wallMs()
      } catch (error) {
        if (error instanceof MessageError) {
          counts.malformed++
          log.warn({ topic, reason: error.message }, 'malformed message dropped')
        } else if (error instanceof StoreError) {
          counts.unstored++
          store.boots.forget(device.id)
          log.error({ topic, reason: describeError(error) }, 'message was not stored')
          events.emit({ kind: 'alarm', data: { kind: 'store', subject: device.id, message: error.message } })
        } else throw error
      }
    },
    counts: () => counts,
  }
}
