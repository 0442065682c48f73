import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { BackOff } from '../back-off.ts'
import type { Sink } from '../sink/sink.ts'

/** As in agent/sink/uplink-sink.ts. */
const MAX_BUFFERED_BYTES = 1024 * 1024
const FIRST_RECONNECT_MS = 250
const MAX_RECONNECT_MS = 5000
/** Of a client's message of more than 64 KiB; shorter ones have less. */
const WEBSOCKET_HEADER_BYTES = 14

/** A page cannot set headers of a WebSocket: the password goes where it can put words. The first is what both speak. */
export function uplinkProtocols(device: string, password: string | undefined): string[] {
  if (password === undefined) return ['espalier-uplink']
  const bytes = new TextEncoder().encode(`${device}:${password}`)
  const base64 = btoa(String.fromCharCode(...bytes))
  return ['espalier-uplink', `basic.${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`]
}

/**
 * Sends streams to the controller over a browser's WebSocket, opened again whenever it closes.
 *
 * @param random In [0, 1): spreads the devices of a site that lost the same controller.
 * @param onSent Told the bytes of each frame on the wire.
 */
export function openPageUplink(
  url: string,
  protocols: readonly string[],
  random: () => number,
  onSent: (bytes: number) => void = () => undefined,
): Sink {
  const backOff = new BackOff(FIRST_RECONNECT_MS, MAX_RECONNECT_MS)
  let isClosed = false
  let socket: WebSocket
  let reconnect: ReturnType<typeof setTimeout> | undefined

  const connect = (): void => {
    socket = new WebSocket(url, [...protocols])
    socket.addEventListener('open', () => backOff.reset())
    // `close` follows every error.
    socket.addEventListener('close', () => {
      if (!isClosed) reconnect = setTimeout(connect, backOff.next() * (0.5 + random() / 2))
    })
  }
  connect()

  return {
    async send({ sequence, capturedWallMs, result }) {
      if (result.kind !== 'stream') return false
      if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MAX_BUFFERED_BYTES) return false
      const frame = encodeUplinkFrame({ sequence, capturedWallMs, stream: result.stream })
      socket.send(frame as Uint8Array<ArrayBuffer>)
      onSent(frame.byteLength + WEBSOCKET_HEADER_BYTES)
      return true
    },
    async close() {
      isClosed = true
      clearTimeout(reconnect)
      socket.close()
    },
  }
}
