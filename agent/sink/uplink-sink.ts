import { WebSocket } from 'ws'
import { keepUplink, type UplinkOptions, type UplinkSocket } from './keep-uplink.ts'
import type { Sink } from './sink.ts'

/** A connection that answers no ping is dead even if the network has not said so. */
const PING_EVERY_MS = 5000
const CLOSE_GRACE_MS = 1000

function connectTo(url: string): UplinkOptions['connect'] {
  return ({ onOpen, onClose }): UplinkSocket => {
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: 10_000 })
    let isAlive = true
    const pinging = setInterval(() => {
      if (!isAlive) socket.terminate()
      isAlive = false
      if (socket.readyState === WebSocket.OPEN) socket.ping()
    }, PING_EVERY_MS)
    socket.on('open', onOpen)
    socket.on('pong', () => {
      isAlive = true
    })
    // `close` follows every error; the reconnection is made there.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearInterval(pinging)
      onClose()
    })
    return {
      get isOpen() {
        return socket.readyState === WebSocket.OPEN
      },
      get bufferedBytes() {
        return socket.bufferedAmount
      },
      send: (frame) => socket.send(frame),
      close() {
        if (socket.readyState !== WebSocket.OPEN) return socket.terminate()
        // A closing handshake lets what is buffered out first, but nobody waits long for it.
        setTimeout(() => socket.terminate(), CLOSE_GRACE_MS).unref()
        socket.close()
      },
    }
  }
}

/**
 * The uplink of a device.
 *
 * @param random In [0, 1): spreads the devices of a site that lost the same controller.
 * @param onSent Told the bytes of each frame on the wire.
 */
export function openUplinkSink(url: string, random: () => number, onSent?: UplinkOptions['onSent']): Sink {
  return keepUplink({ connect: connectTo(url), random, onSent })
}
