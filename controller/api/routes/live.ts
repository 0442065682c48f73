import type { Clock } from '@espalier/shared/clock'
import { type DeviceId, deviceIdSchema, type SlotId, slotIdSchema } from '@espalier/shared/ids'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { Fleet } from '../../ingest/fleet.ts'
import type { KeyFrameRequests } from '../../uplink/key-frame-requests.ts'
import { relayTo } from '../../uplink/relay.ts'
import type { Streams } from '../../uplink/streams.ts'

export interface LiveRoutesOptions {
  readonly streams: Streams
  readonly fleet: Fleet
  readonly clock: Clock
  readonly log: Logger
  readonly keyFrames: KeyFrameRequests
}

const params = z.object({ device: deviceIdSchema, slot: slotIdSchema })

/** Viewers say one thing only. */
const KEY_FRAME_PLEASE = 'key-frame'

/**
 * `/live/:device/:slot`, a WebSocket: uplink messages of the slot as they come, from a key frame on, and a JSON text
 * message `{ kind: "family", manifestDigest }` before the first and whenever that changes. A viewer that lost its way sends
 * the text `key-frame`.
 */
export function addLiveRoutes(
  api: FastifyInstance,
  { streams, fleet, clock, log, keyFrames }: LiveRoutesOptions,
): void {
  const familyOf = (device: DeviceId, slot: SlotId): string | undefined => {
    const record = fleet.get(device)
    const isIt = (each: { readonly slot: SlotId }): boolean => each.slot === slot
    return record?.reported?.slots.find(isIt)?.manifestDigest ?? record?.birth?.slots.find(isIt)?.manifestDigest
  }
  api.get('/live/:device/:slot', { websocket: true, schema: { hide: true, params } }, (socket, request) => {
    const { device, slot } = request.params as z.infer<typeof params>
    const askForKeyFrame = (): void => keyFrames.ask(device, slot)
    const leave = relayTo(socket, `${device}/${slot}`, {
      streams,
      familyOf: () => familyOf(device, slot),
      askForKeyFrame,
      monotonicMs: clock.monotonicMs,
    })
    socket.on('message', (data: Buffer) => {
      if (data.toString('utf8', 0, 32) === KEY_FRAME_PLEASE) askForKeyFrame()
    })
    socket.on('error', (error) => log.warn({ device, slot, reason: error.message }, 'viewer failed'))
    socket.once('close', leave)
  })
}
