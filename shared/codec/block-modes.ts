import type { RansDecoder, RansEncoder } from './rans.ts'
import { PROBABILITY_BITS } from './rans.ts'

/** How an inter frame codes a place: as the frame before has it, as a difference from that, or on its own. */
export const MODE = { skip: 0, inter: 1, intra: 2 } as const
const MODES = 3
const TOTAL = 2 ** PROBABILITY_BITS
/** Counts are halved here, so that they follow the picture. */
const MAX_COUNT = 255

/** Frequencies that follow what was coded; a place expects what lies left of and above it. */
class AdaptiveModes {
  readonly #counts = Int32Array.from({ length: MODES ** 3 }, () => 2)
  readonly frequencies = new Int32Array(MODES)

  /** Sets `frequencies` for a context. */
  look(context: number): void {
    const at = context * MODES
    const counts = this.#counts
    const sum = counts[at]! + counts[at + 1]! + counts[at + 2]!
    let rest = TOTAL
    for (let mode = 0; mode < MODES - 1; mode++) {
      this.frequencies[mode] = Math.floor((counts[at + mode]! * (TOTAL - MODES)) / sum) + 1
      rest -= this.frequencies[mode]!
    }
    this.frequencies[MODES - 1] = rest
  }

  learn(context: number, mode: number): void {
    const at = context * MODES
    const counts = this.#counts
    counts[at + mode]! += 16
    if (counts[at + mode]! > MAX_COUNT) for (let m = 0; m < MODES; m++) counts[at + m] = (counts[at + m]! + 1) >> 1
  }
}

function contextOf(modes: Uint8Array, place: number, width: number): number {
  const left = place % width === 0 ? MODE.skip : modes[place - 1]!
  const above = place < width ? MODE.skip : modes[place - width]!
  return left * MODES + above
}

/** @param modes [height, width] of MODE. */
export function writeModes(encoder: RansEncoder, modes: Uint8Array, width: number): void {
  const adaptive = new AdaptiveModes()
  for (let place = 0; place < modes.length; place++) {
    const context = contextOf(modes, place, width)
    adaptive.look(context)
    let start = 0
    for (let mode = 0; mode < modes[place]!; mode++) start += adaptive.frequencies[mode]!
    encoder.put(start, adaptive.frequencies[modes[place]!]!)
    adaptive.learn(context, modes[place]!)
  }
}

/** @returns [height, width] of MODE. */
export function readModes(decoder: RansDecoder, height: number, width: number): Uint8Array {
  const adaptive = new AdaptiveModes()
  const modes = new Uint8Array(height * width)
  for (let place = 0; place < modes.length; place++) {
    const context = contextOf(modes, place, width)
    adaptive.look(context)
    const target = decoder.peek()
    let mode = 0
    let start = 0
    while (target >= start + adaptive.frequencies[mode]!) start += adaptive.frequencies[mode++]!
    decoder.take(start, adaptive.frequencies[mode]!)
    modes[place] = mode
    adaptive.learn(context, mode)
  }
  return modes
}
