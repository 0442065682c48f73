import { MODE } from './block-modes.ts'
import type { Prediction } from './context-model.ts'

/** What an inter frame will code. */
export interface InterFrame {
  /** [channels, height, width]: what the receiver will have. */
  readonly symbols: Int16Array
  /** [height, width] of MODE. */
  readonly modes: Uint8Array
}

/**
 * A symbol stays as it was while the latent is this near to it. Rounding alone would be 0.5: sensor noise would
 * flip symbols back and forth, each flip costing bits and showing as flicker.
 */
const STAY_WITHIN = 0.6
/** Steps squared of distortion that one bit is worth: 2 ln 2 / 12, the slope of a fine quantiser at its own rate. */
const DISTORTION_PER_BIT = 0.1155
/** What a lone change among zeros costs, measured on the fixed-camera clip. */
const BITS_PER_LONE_CHANGE = 4
/** Where following the frame before saves less than this share of what coding alone costs, the scene is another. */
const SCENE_CHANGE_SAVING = 0.1

/**
 * Decide place by place what follows from the frame before. Pure; the receiver repeats none of it.
 *
 * @param latent [channels, height, width], not rounded.
 * @param rounded The same, rounded to int16: what a key frame would code.
 * @param reference [channels, height, width]: the symbols of the frame before, at this frame's alpha.
 * @returns Undefined where a key frame is the better choice: the scene has changed.
 */
export function planInterFrame(
  latent: Float32Array,
  rounded: Int16Array,
  reference: Int16Array,
  area: number,
): InterFrame | undefined {
  const symbols = new Int16Array(latent.length)
  const modes = new Uint8Array(area)
  const changes = new Int32Array(area)
  const gains = new Float32Array(area)
  const interCost = new Float32Array(area)
  const intraCost = new Float32Array(area)
  for (let at = 0, place = 0; at < latent.length; at++, place = place + 1 === area ? 0 : place + 1) {
    const before = reference[at]!
    const own = rounded[at]!
    if (own === 0 && before === 0) continue
    const value = latent[at]!
    const away = Math.abs(value - before)
    intraCost[place]! += Math.log2(1 + Math.abs(own))
    if (own === before || away < STAY_WITHIN) {
      symbols[at] = before
      continue
    }
    symbols[at] = own
    changes[place]!++
    gains[place]! += away * away - (value - own) ** 2
    interCost[place]! += Math.log2(1 + Math.abs(own - before))
  }
  let [cost, costAlone] = [0, 0]
  for (let place = 0; place < area; place++) {
    costAlone += intraCost[place]!
    if (changes[place] === 0 || gains[place]! < DISTORTION_PER_BIT * BITS_PER_LONE_CHANGE * changes[place]!) {
      modes[place] = MODE.skip
    } else if (interCost[place]! < intraCost[place]!) {
      modes[place] = MODE.inter
      cost += interCost[place]!
      continue
    } else {
      modes[place] = MODE.intra
      cost += intraCost[place]!
    }
    const source = modes[place] === MODE.skip ? reference : rounded
    for (let at = place; at < latent.length; at += area) symbols[at] = source[at]!
  }
  return cost > (1 - SCENE_CHANGE_SAVING) * costAlone ? undefined : { symbols, modes }
}

/** What the modes make of the frame before. */
export function toPrediction(reference: Int16Array, modes: Uint8Array): Prediction {
  const area = modes.length
  const symbols = Int16Array.from(reference)
  for (let place = 0; place < area; place++)
    if (modes[place] === MODE.intra) for (let at = place; at < symbols.length; at += area) symbols[at] = 0
  return {
    symbols,
    skipped: modes.map((mode) => (mode === MODE.skip ? 1 : 0)),
    predicted: modes.map((mode) => (mode === MODE.intra ? 0 : 1)),
  }
}
