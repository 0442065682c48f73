import type { Clock } from '@espalier/shared/clock'
import { readHeader } from '@espalier/shared/codec/container'
import { IntegrityError } from '@espalier/shared/errors'
import { decodeUplinkFrame, type UplinkFrame } from '@espalier/shared/messages/uplink'

const WINDOW_MS = 10_000
/** Nobody waits for more frames than this to be decoded before the one that is wanted. */
const MAX_CHAIN = 1500

interface SlotStream {
  last: UplinkFrame
  /** The newest frame that can be decoded, behind all that it follows, from a key frame on. */
  chain: UplinkFrame[]
  /** Checksum that names the chain's last stream. */
  chainCrc: number | undefined
  frames: number
  /** Sequence numbers that never came. */
  missing: number
  bytes: number
  readonly firstMs: number
  lastMs: number
  /** Arrivals of the last ten seconds. */
  recent: { atMs: number; bytes: number }[]
}

/** What a slot sent over its uplink. */
export interface StreamView {
  readonly sequence: number
  readonly frames: number
  readonly missing: number
  readonly bytes: number
  /** Received in the last ten seconds, headers included. */
  readonly bitsPerSecond: number
  readonly ageMs: number
}

/** Told of each frame that can be decoded, as it comes. */
export type StreamListener = (frame: UplinkFrame, kind: { readonly isKey: boolean }) => void

/** Keeps the last stream of each slot, counts, and tells those who watch. */
export class Streams {
  readonly #slots = new Map<string, SlotStream>()
  readonly #listeners = new Map<string, Set<StreamListener>>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * @param message A whole uplink message; copied.
   * @returns False where the frame is of no use without a key frame: it is damaged, or follows one that never came.
   * @throws {MessageError} If it has no header.
   */
  accept(key: string, message: Uint8Array): boolean {
    const frame = decodeUplinkFrame(message.slice())
    const atMs = this.#clock.monotonicMs()
    const known = this.#slots.get(key)
    const slot: SlotStream = known ?? {
      last: frame,
      chain: [],
      chainCrc: undefined,
      frames: 0,
      missing: 0,
      bytes: 0,
      firstMs: atMs,
      lastMs: atMs,
      recent: [],
    }
    // A lower sequence is a slot that started again, not a gap.
    if (known !== undefined && frame.sequence > known.last.sequence)
      slot.missing += frame.sequence - known.last.sequence - 1
    slot.last = frame
    slot.frames++
    slot.bytes += message.byteLength
    slot.lastMs = atMs
    slot.recent.push({ atMs, bytes: message.byteLength })
    while (slot.recent[0]!.atMs < atMs - WINDOW_MS) slot.recent.shift()
    this.#slots.set(key, slot)
    const isUsable = append(slot, frame)
    if (isUsable) for (const tell of this.#listeners.get(key) ?? []) tell(frame, { isKey: slot.chain.length === 1 })
    return isUsable
  }

  /** @returns Call to be told no more. */
  subscribe(key: string, listener: StreamListener): () => void {
    const listeners = this.#listeners.get(key) ?? new Set()
    this.#listeners.set(key, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(key)
    }
  }

  /** The newest frame that can be decoded, behind all that it follows; empty before there is one. */
  chain(key: string): readonly UplinkFrame[] {
    return this.#slots.get(key)?.chain ?? []
  }

  /** Whether a newer frame came that cannot be decoded: what `chain` shows is no longer now. */
  isBroken(key: string): boolean {
    const slot = this.#slots.get(key)
    return slot !== undefined && slot.chain.at(-1) !== slot.last
  }

  view(key: string): StreamView | undefined {
    const slot = this.#slots.get(key)
    if (slot === undefined) return undefined
    const nowMs = this.#clock.monotonicMs()
    const bytes = slot.recent.filter(({ atMs }) => atMs >= nowMs - WINDOW_MS).reduce((sum, r) => sum + r.bytes, 0)
    const spanMs = Math.min(WINDOW_MS, Math.max(1000, nowMs - slot.firstMs))
    return {
      sequence: slot.last.sequence,
      frames: slot.frames,
      missing: slot.missing,
      bytes: slot.bytes,
      bitsPerSecond: (8 * bytes) / (spanMs / 1000),
      ageMs: nowMs - slot.lastMs,
    }
  }
}

function append(slot: SlotStream, frame: UplinkFrame): boolean {
  try {
    const { frameKind, referenceCrc, crc } = readHeader(frame.stream)
    if (frameKind === 'key') slot.chain = [frame]
    else if (referenceCrc === slot.chainCrc && slot.chain.length < MAX_CHAIN) slot.chain.push(frame)
    else return false
    slot.chainCrc = crc
    return true
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error
    return false
  }
}
