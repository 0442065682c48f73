import { encodeUplinkFrame, type UplinkFrame } from '@espalier/shared/messages/uplink'
import type { StreamListener, Streams } from './streams.ts'

/** A viewer that would have more than this in its socket waits for a key frame instead. */
export const MAX_BUFFERED_BYTES = 512 * 1024
/** A socket that took nothing for this long has nobody at its other end. */
const STALLED_MS = 30_000

/** The part of a WebSocket that is used. */
export interface ViewerSocket {
  readonly bufferedAmount: number
  send(data: Uint8Array | string): void
  close(code: number, reason: string): void
}

export interface RelayOptions {
  readonly streams: Pick<Streams, 'chain' | 'subscribe'>
  /** Version of the family that the slot runs; undefined before its device said so. */
  readonly familyOf: (key: string) => string | undefined
  readonly askForKeyFrame: () => void
  readonly monotonicMs: () => number
}

/** Text messages to a viewer: which family's decoder the streams that follow need. */
export interface FamilyNotice {
  readonly kind: 'family'
  readonly manifestDigest: string
}

/**
 * Pass what a slot sends on to one viewer: first what it needs to decode the newest frame, then each stream as it comes,
 * in the form of uplink messages. Nothing queues here: a viewer whose socket is full misses frames up to a key frame,
 * because any other would follow one that it does not have.
 *
 * @returns Call when the viewer has gone.
 */
export function relayTo(socket: ViewerSocket, key: string, options: RelayOptions): () => void {
  const { streams, familyOf, askForKeyFrame, monotonicMs } = options
  let told: string | undefined
  let isBehind = false
  let fullSinceMs: number | undefined

  const tellFamily = (): void => {
    const manifestDigest = familyOf(key)
    if (manifestDigest === undefined || manifestDigest === told) return
    told = manifestDigest
    socket.send(JSON.stringify({ kind: 'family', manifestDigest } satisfies FamilyNotice))
  }
  const send = (frame: UplinkFrame): void => socket.send(encodeUplinkFrame(frame))

  const listener: StreamListener = (frame, { isKey }) => {
    if (socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      fullSinceMs ??= monotonicMs()
      if (monotonicMs() - fullSinceMs > STALLED_MS) socket.close(4408, 'this viewer takes nothing')
      else if (!isBehind) askForKeyFrame()
      isBehind = true
      return
    }
    fullSinceMs = undefined
    if (isBehind && !isKey) return
    isBehind = false
    tellFamily()
    send(frame)
  }

  tellFamily()
  const chain = streams.chain(key)
  isBehind = chain.reduce((sum, { stream }) => sum + stream.byteLength, 0) > MAX_BUFFERED_BYTES
  if (!isBehind) for (const frame of chain) send(frame)
  // The chain may be old, or too long to be sent; a fresh key frame is what a viewer that joins wants.
  askForKeyFrame()
  return streams.subscribe(key, listener)
}
