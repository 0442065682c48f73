import { readHeader } from '@espalier/shared/codec/container'
import type { FrameReference } from '@espalier/shared/codec/picture-codec'
import { describeError } from '@espalier/shared/errors'
import { decodeUplinkFrame, type UplinkFrame } from '@espalier/shared/messages/uplink'
import type { LiveDecoder } from './live-decoder.ts'
import type { LiveStatus } from './status.ts'

const FIRST_RECONNECT_MS = 500
const MAX_RECONNECT_MS = 10_000
/** More than a slot sends between two key frames; what waits for longer is nobody's live picture. */
const MAX_WAITING = 1500
/** Clocks that differ by more than this say nothing of a delay. */
const MAX_CAPTURE_DELAY_MS = 300_000

export interface LivePlayerOptions {
  /** Of the controller's relay. */
  readonly url: string
  readonly canvas: OffscreenCanvas
  readonly openDecoder: (manifestDigest: string) => Promise<LiveDecoder>
  readonly describeBackend: () => Promise<string>
  /** There may be something for `step` to do. */
  readonly onWork: () => void
  readonly onStatus: (status: LiveStatus) => void
}

interface WaitingFrame extends UplinkFrame {
  readonly arrivedMs: number
}

/** One live picture: its socket, the frames that wait, and what the next one follows. */
export class LivePlayer {
  readonly #options: LivePlayerOptions
  /** From the last key frame that arrived on; what was shown already is not among them. */
  #waiting: WaitingFrame[] = []
  #reference: FrameReference | undefined
  #manifestDigest: string | undefined
  #isLost = true
  #isVisible = true
  #isClosed = false
  #socket: WebSocket | undefined
  #reconnectMs = FIRST_RECONNECT_MS
  #status: LiveStatus = { state: 'connecting', shown: 0, passedOver: 0 }

  constructor(options: LivePlayerOptions) {
    this.#options = options
    void options.describeBackend().then((backendReason) => this.#tell({ backendReason }))
    this.#connect()
  }

  setVisible(isVisible: boolean): void {
    this.#isVisible = isVisible
    if (isVisible) this.#options.onWork()
  }

  close(): void {
    this.#isClosed = true
    this.#socket?.close()
  }

  /** Show the newest frame that waits. @returns Whether there was one. */
  async step(): Promise<boolean> {
    const frames = this.#waiting
    const newest = frames.at(-1)
    if (newest === undefined || !this.#isVisible || this.#isClosed || this.#manifestDigest === undefined) return false
    this.#waiting = []
    try {
      const decoder = await this.#options.openDecoder(this.#manifestDigest)
      const started = performance.now()
      const streams = frames.map(({ stream }) => stream)
      const { reference, frameKind } = await decoder.show(streams, this.#reference, this.#options.canvas)
      this.#reference = reference
      this.#tellShown(newest, { started, decoder, frameKind, passedOver: frames.length - 1 })
    } catch (error) {
      this.#lose(describeError(error))
    }
    return true
  }

  #tellShown(
    { sequence, arrivedMs, capturedWallMs }: WaitingFrame,
    done: { started: number; decoder: LiveDecoder; frameKind: 'key' | 'inter'; passedOver: number },
  ): void {
    if (this.#isClosed) return
    const { width, height, alpha255 } = this.#reference!
    const nowMs = performance.now()
    const sinceCaptureMs = Date.now() - capturedWallMs
    const { captureToPictureMs: _, reason: __, ...before } = this.#status
    this.#status = {
      ...before,
      state: 'live',
      backend: done.decoder.backend,
      width,
      height,
      alpha255,
      sequence,
      frameKind: done.frameKind,
      shown: before.shown + 1,
      passedOver: before.passedOver + done.passedOver,
      arrivalToPictureMs: nowMs - arrivedMs,
      decodeMs: nowMs - done.started,
      ...(sinceCaptureMs >= 0 && sinceCaptureMs < MAX_CAPTURE_DELAY_MS ? { captureToPictureMs: sinceCaptureMs } : {}),
    }
    this.#options.onStatus(this.#status)
  }

  #tell(change: Partial<LiveStatus>): void {
    if (this.#isClosed) return
    this.#status = { ...this.#status, ...change }
    this.#options.onStatus(this.#status)
  }

  /** Nothing can be shown until a key frame comes. */
  #lose(reason: string): void {
    this.#isLost = true
    this.#reference = undefined
    this.#waiting = []
    this.#tell({ state: 'waiting', reason })
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send('key-frame')
  }

  #connect(): void {
    const socket = new WebSocket(this.#options.url)
    socket.binaryType = 'arraybuffer'
    this.#socket = socket
    socket.addEventListener('open', () => {
      this.#reconnectMs = FIRST_RECONNECT_MS
      if (this.#status.state === 'connecting') this.#tell({ state: 'waiting', reason: 'no frame yet' })
    })
    socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === 'string') this.#receiveNotice(data)
      else this.#receiveFrame(new Uint8Array(data))
    })
    socket.addEventListener('close', () => {
      if (this.#isClosed) return
      this.#tell({ state: 'connecting', reason: 'the controller does not answer' })
      setTimeout(() => this.#isClosed || this.#connect(), this.#reconnectMs * (0.5 + Math.random() / 2))
      this.#reconnectMs = Math.min(MAX_RECONNECT_MS, this.#reconnectMs * 2)
    })
  }

  #receiveNotice(text: string): void {
    const notice = JSON.parse(text) as { kind?: unknown; manifestDigest?: unknown }
    if (notice.kind !== 'family' || typeof notice.manifestDigest !== 'string') return
    this.#manifestDigest = notice.manifestDigest
    this.#options.onWork()
  }

  #receiveFrame(message: Uint8Array): void {
    try {
      const frame = decodeUplinkFrame(message)
      const isKey = readHeader(frame.stream).frameKind === 'key'
      if (!isKey && this.#isLost) return
      if (this.#waiting.length >= MAX_WAITING) {
        this.#lose('too slow for this slot')
        return
      }
      // What waited is older than a picture that stands alone.
      if (isKey) {
        this.#status = { ...this.#status, passedOver: this.#status.passedOver + this.#waiting.length }
        this.#waiting = []
      }
      this.#isLost = false
      this.#waiting.push({ ...frame, arrivedMs: performance.now() })
      this.#options.onWork()
    } catch (error) {
      this.#lose(describeError(error))
    }
  }
}
