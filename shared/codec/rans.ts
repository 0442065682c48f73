import { IntegrityError } from '../errors.ts'

/**
 * rANS (Duda 2013) with a 32-bit state and 16-bit words: every intermediate is a whole number below 2^32, so
 * doubles hold it exactly and every JavaScript engine agrees. Probabilities are out of 2^16.
 */
export const PROBABILITY_BITS = 16
const STATE_FLOOR = 0x10000
const HALF = 0x8000
/** Escaped magnitudes are below 2^20; a longer prefix is no stream of ours. */
const MAX_PREFIX = 20

/** Collects the intervals of symbols in coding order; rANS writes them backwards at the end. */
export class RansEncoder {
  #starts = new Uint32Array(1 << 14)
  #frequencies = new Uint32Array(1 << 14)
  #count = 0

  /** @param start Cumulative frequency before the symbol. @param frequency 1..65536. */
  put(start: number, frequency: number): void {
    if (this.#count === this.#starts.length) this.#grow()
    this.#starts[this.#count] = start
    this.#frequencies[this.#count] = frequency
    this.#count++
  }

  /** Many at once: pairs of start and frequency. */
  append(intervals: Uint32Array): void {
    while (this.#count + intervals.length / 2 > this.#starts.length) this.#grow()
    for (let i = 0; i < intervals.length; i += 2) {
      this.#starts[this.#count] = intervals[i]!
      this.#frequencies[this.#count] = intervals[i + 1]!
      this.#count++
    }
  }

  /** A whole number >= 0 in Exp-Golomb form, each bit at probability one half. */
  putEscape(value: number): void {
    const digits = 32 - Math.clz32(value + 1)
    for (let i = 1; i < digits; i++) this.put(0, HALF)
    for (let i = digits - 1; i >= 0; i--) this.put((((value + 1) >>> i) & 1) * HALF, HALF)
  }

  finish(): Uint8Array {
    const words: number[] = []
    let state = STATE_FLOOR
    for (let i = this.#count - 1; i >= 0; i--) {
      const frequency = this.#frequencies[i]!
      if (state >= frequency * 0x10000) {
        words.push(state & 0xffff)
        state = state >>> 16
      }
      // quotient * 2^16 + remainder + start, with one division.
      state += Math.floor(state / frequency) * (0x10000 - frequency) + this.#starts[i]!
    }
    words.push(state & 0xffff, state >>> 16)
    const bytes = new Uint8Array(words.length * 2)
    for (let i = 0; i < words.length; i++) {
      const word = words[words.length - 1 - i]!
      bytes[2 * i] = word & 0xff
      bytes[2 * i + 1] = word >>> 8
    }
    return bytes
  }

  #grow(): void {
    const starts = new Uint32Array(this.#starts.length * 2)
    const frequencies = new Uint32Array(this.#starts.length * 2)
    starts.set(this.#starts)
    frequencies.set(this.#frequencies)
    this.#starts = starts
    this.#frequencies = frequencies
  }
}

/** Reads what RansEncoder wrote. Never reads past the payload: a short one decodes zeros and fails in `finish`. */
export class RansDecoder {
  readonly bytes: Uint8Array
  #position = 0
  #state: number

  /** @throws {IntegrityError} If the payload cannot be a coder's output. */
  constructor(bytes: Uint8Array) {
    if (bytes.length < 4 || bytes.length % 2 !== 0)
      throw new IntegrityError(
        `Cannot decode payload: found ${bytes.length} bytes, expected an even number of at least 4`,
      )
    this.bytes = bytes
    const high = this.#word()
    this.#state = high * 0x10000 + this.#word()
  }

  /** Bytes read so far. */
  get position(): number {
    return this.#position
  }

  get state(): number {
    return this.#state
  }

  /** Go on where another reader of the same bytes stopped. */
  resume(position: number, state: number): void {
    this.#position = position
    this.#state = state
  }

  /** The place of the next symbol in the cumulative frequencies, 0..65535. */
  peek(): number {
    return this.#state & 0xffff
  }

  /** Take the symbol whose interval holds `peek()`. */
  take(start: number, frequency: number): void {
    this.#state = frequency * (this.#state >>> 16) + (this.#state & 0xffff) - start
    if (this.#state < STATE_FLOOR) this.#state = this.#state * 0x10000 + this.#word()
  }

  /** @throws {IntegrityError} If the prefix is longer than any escape of ours. */
  takeEscape(): number {
    let digits = 1
    while (this.#bit() === 0) {
      digits++
      if (digits > MAX_PREFIX + 1)
        throw new IntegrityError(`Cannot decode payload: an escape has over ${MAX_PREFIX} leading zeros`)
    }
    let value = 1
    for (let i = 1; i < digits; i++) value = value * 2 + this.#bit()
    return value - 1
  }

  /** @throws {IntegrityError} If the payload is not used up exactly or the coder's state is not where it began. */
  finish(): void {
    if (this.#position !== this.bytes.length || this.#state !== STATE_FLOOR)
      throw new IntegrityError(
        `Cannot decode payload: its end does not fit its symbols (${this.#position} of ${this.bytes.length} bytes used)`,
      )
  }

  #bit(): number {
    const bit = this.peek() >= HALF ? 1 : 0
    this.take(bit * HALF, HALF)
    return bit
  }

  #word(): number {
    const at = this.#position
    this.#position += 2
    return at + 1 < this.bytes.length ? this.bytes[at]! | (this.bytes[at + 1]! << 8) : 0
  }
}
