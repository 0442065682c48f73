import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { BackOff } from '../back-off.ts'
import type { Sink } from './sink.ts'

/** Frames in the socket's buffer beyond this are late already: better to lose them than to queue without end. */
const MAX_BUFFERED_BYTES = 1024 * 1024
const FIRST_RECONNECT_MS = 250
const MAX_RECONNECT_MS = 5000
/** Of a client's message of more than 64 KiB; shorter ones have less. */
const WEBSOCKET_HEADER_BYTES = 14

/** A WebSocket of any runtime. */
export interface UplinkSocket {
  readonly isOpen: boolean
  /** Given to it and not yet on the wire. */
  readonly bufferedBytes: number
  send(frame: Uint8Array): void
  /** Let what is buffered out, for a moment. */
  close(): void
}

export interface UplinkOptions {
  /** Begin a connection and tell how it goes. `onClose` must come once of each, also where it never opened. */
  readonly connect: (told: { readonly onOpen: () => void; readonly onClose: () => void }) => UplinkSocket
  /** In [0, 1): spreads the devices of a site that lost the same controller. */
  readonly random: () => number
  /** Told the bytes of each frame on the wire. */
  readonly onSent: ((bytes: number) => void) | undefined
}

/** Sends streams to the controller over a WebSocket that is opened again whenever it closes. */
export function keepUplink({ connect, random, onSent }: UplinkOptions): Sink {
  const backOff = new BackOff(FIRST_RECONNECT_MS, MAX_RECONNECT_MS)
  let isClosed = false
  let reconnect: ReturnType<typeof setTimeout> | undefined
  const open = (): UplinkSocket =>
    connect({
      onOpen: () => backOff.reset(),
      onClose() {
        if (isClosed) return
        reconnect = setTimeout(
          () => {
            socket = open()
          },
          backOff.next() * (0.5 + random() / 2),
        )
      },
    })
  let socket = open()

  return {
    async send({ sequence, capturedWallMs, result }) {
      if (result.kind !== 'stream') return false
      if (!socket.isOpen || socket.bufferedBytes > MAX_BUFFERED_BYTES) return false
      const frame = encodeUplinkFrame({ sequence, capturedWallMs, stream: result.stream })
      socket.send(frame)
      onSent?.(frame.byteLength + WEBSOCKET_HEADER_BYTES)
      return true
    },
    async close() {
      isClosed = true
      clearTimeout(reconnect)
      socket.close()
    },
  }
}
