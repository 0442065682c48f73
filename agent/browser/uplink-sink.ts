import { keepUplink, type UplinkOptions } from '../sink/keep-uplink.ts'
import type { Sink } from '../sink/sink.ts'

/** A page cannot set headers of a WebSocket: the password goes where it can put words. The first is what both speak. */
export function uplinkProtocols(device: string, password: string | undefined): string[] {
  if (password === undefined) return ['espalier-uplink']
  const bytes = new TextEncoder().encode(`${device}:${password}`)
  const base64 = btoa(String.fromCharCode(...bytes))
  return ['espalier-uplink', `basic.${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`]
}

/**
 * The uplink of a page.
 *
 * @param random In [0, 1): spreads the devices of a site that lost the same controller.
 * @param onSent Told the bytes of each frame on the wire.
 */
export function openPageUplink(
  url: string,
  protocols: readonly string[],
  random: () => number,
  onSent?: UplinkOptions['onSent'],
): Sink {
  const connect: UplinkOptions['connect'] = ({ onOpen, onClose }) => {
    const socket = new WebSocket(url, [...protocols])
    socket.addEventListener('open', onOpen)
    // `close` follows every error.
    socket.addEventListener('close', onClose)
    return {
      get isOpen() {
        return socket.readyState === WebSocket.OPEN
      },
      get bufferedBytes() {
        return socket.bufferedAmount
      },
      send: (frame) => socket.send(frame as Uint8Array<ArrayBuffer>),
      close: () => socket.close(),
    }
  }
  return keepUplink({ connect, random, onSent })
}
