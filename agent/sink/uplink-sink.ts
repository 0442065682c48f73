import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { WebSocket } from 'ws'
import { BackOff } from '../back-off.ts'
import type { Sink } from './sink.ts'

/** Frames in the socket's buffer beyond this are late already: better to lose them than to queue without end. */
const MAX_BUFFERED_BYTES = 1024 * 1024
const FIRST_RECONNECT_MS = 250
const MAX_RECONNECT_MS = 5000
/** A connection that answers no ping is dead even if the network has not said so. */
const PING_EVERY_MS = 5000
const CLOSE_GRACE_MS = 1000
/** Of a client's message of more than 64 KiB; shorter ones have less. */
const WEBSOCKET_HEADER_BYTES = 14

/**
 * Sends streams to the controller over a WebSocket that is opened again whenever it closes.
 *
 * @param random In [0, 1): spreads the devices of a site that lost the same controller.
 * @param onSent Told the bytes of each frame on the wire.
 */
export function openUplinkSink(
  url: string,
  random: () => number,
  onSent: (bytes: number) => void = () => undefined,
): Sink {
  const backOff = new BackOff(FIRST_RECONNECT_MS, MAX_RECONNECT_MS)
  let isClosed = false
  let socket: WebSocket
  let reconnect: NodeJS.Timeout | undefined

  const connect = (): void => {
    const opened = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: 10_000 })
    socket = opened
    let isAlive = true
    const pinging = setInterval(() => {
      if (!isAlive) opened.terminate()
      isAlive = false
      if (opened.readyState === WebSocket.OPEN) opened.ping()
    }, PING_EVERY_MS)
    opened.on('open', () => backOff.reset())
    opened.on('pong', () => {
      isAlive = true
    })
    // `close` follows every error; the reconnection is made there.
    opened.on('error', () => undefined)
    opened.on('close', () => {
      clearInterval(pinging)
      if (!isClosed) reconnect = setTimeout(connect, backOff.next() * (0.5 + random() / 2))
    })
  }
  connect()

  return {
    async send({ sequence, capturedWallMs, result }) {
      if (result.kind !== 'stream') return false
      if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MAX_BUFFERED_BYTES) return false
      const frame = encodeUplinkFrame({ sequence, capturedWallMs, stream: result.stream })
      socket.send(frame)
      onSent(frame.byteLength + WEBSOCKET_HEADER_BYTES)
      return true
    },
    async close() {
      isClosed = true
      clearTimeout(reconnect)
      if (socket.readyState !== WebSocket.OPEN) return socket.terminate()
      // A closing handshake lets what is buffered out first, but nobody waits long for it.
      const closing = socket
      setTimeout(() => closing.terminate(), CLOSE_GRACE_MS).unref()
      closing.close()
    },
  }
}
