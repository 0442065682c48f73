/**
 * The inner loops of the context model, in AssemblyScript: compiled to WebAssembly with 128-bit vectors, because the
 * same loops in JavaScript reach a third of the speed. Integers only, all in memory that codec/context-kernel.ts lays
 * out; nothing is allocated here. What is computed and why is told in codec/context-model.ts.
 *
 * Planes are [rows][stride] of i32; `features` are [place of the plane][2 * maps] so that one place's lie together.
 */

const LANES: i32 = 4
/** A neighbour's weights: five for the row below, five for the next, two to the right; padded to whole vectors. */
const TAPS: i32 = 12
const SURROUNDINGS: i32 = 9
const FRACTION: i32 = 10
/** Escaped magnitudes are below 2^20; a longer prefix is no stream of ours. */
const MAX_PREFIX: i32 = 20
const STATE_FLOOR: u32 = 0x10000

/** Where memory is free: below lie the tables of Math.log2. */
export function heapBase(): usize {
  return __heap_base
}

/** Set every lane of a plane. */
export function fill(plane: usize, count: i32, value: i32): void {
  const vector = i32x4.splat(value)
  let at = plane
  const end = plane + (<usize>count << 2)
  for (; at + 16 <= end; at += 16) v128.store(at, vector)
  for (; at < end; at += 4) store<i32>(at, value)
}

// @ts-ignore: decorator of AssemblyScript
@inline
function addTo(target: usize, weights: usize, value: v128): void {
  v128.store(target, i32x4.add(v128.load(target), i32x4.mul(v128.load(weights), value)))
}

// @ts-ignore: decorator of AssemblyScript
@inline
function addOne(target: usize, weight: usize, value: i32): void {
  store<i32>(target, load<i32>(target) + load<i32>(weight) * value)
}

/** Add a symbol's weights to the twelve places that will look at it. `plane` points at the symbol's own place. */
// @ts-ignore: decorator of AssemblyScript
@inline
function push(plane: usize, stride: i32, weights: usize, value: i32): void {
  const vector = i32x4.splat(value)
  const below = plane + (<usize>stride << 2) - 8
  const next = below + (<usize>stride << 2)
  addTo(below, weights, vector)
  addOne(below + 16, weights + 16, value)
  addTo(next, weights + 20, vector)
  addOne(next + 16, weights + 36, value)
  addOne(plane + 4, weights + 40, value)
  addOne(plane + 8, weights + 44, value)
}

/** Add weight * level at each place of a list. */
export function addList(plane: usize, places: usize, levels: usize, count: i32, weight: i32): void {
  for (let i = 0; i < count; i++) {
    const to = plane + (<usize>load<i32>(places + (<usize>i << 2)) << 2)
    store<i32>(to, load<i32>(to) + weight * load<i32>(levels + (<usize>i << 2)))
  }
}

/**
 * What symbols of the frame before push to the nine places around them, and a bias where they stand for something.
 *
 * @param symbols i16 [height, width] of one channel.
 * @param weights i32 [9] for means, then [9] for scales; for the surroundings in reading order.
 */
export function addPrediction(
  mean: usize,
  scale: usize,
  height: i32,
  width: i32,
  stride: i32,
  symbols: usize,
  predicted: usize,
  levels: usize,
  maxMagnitude: i32,
  weights: usize,
  bias: i32,
): void {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = y * width + x
      const here = <usize>((y + 1) * stride + x + 2) << 2
      if (load<u8>(predicted + place)) store<i32>(scale + here, load<i32>(scale + here) + bias)
      const symbol = <i32>load<i16>(symbols + (<usize>place << 1))
      if (symbol == 0) continue
      const bounded = min(maxMagnitude, max(-maxMagnitude, symbol))
      const level = load<i32>(levels + (<usize>abs(bounded) << 2))
      for (let k = 0; k < SURROUNDINGS; k++) {
        // The place at (dy, dx) of this one has this one at (-dy, -dx).
        const there = here - (<usize>((k / 3 - 1) * stride + (k % 3) - 1) << 2)
        addOne(mean + there, weights + (<usize>k << 2), bounded)
        addOne(scale + there, weights + (<usize>(SURROUNDINGS + k) << 2), level)
      }
    }
  }
}

/**
 * Add the levels of one channel to all energy maps.
 *
 * @param raw i32 [plane][maps]. @param weights i32 [maps] of this channel.
 */
export function addEnergy(raw: usize, maps: i32, places: usize, levels: usize, count: i32, weights: usize): void {
  const bytes = <usize>maps << 2
  for (let i = 0; i < count; i++) {
    const to = raw + <usize>load<i32>(places + (<usize>i << 2)) * bytes
    const level = i32x4.splat(load<i32>(levels + (<usize>i << 2)))
    for (let m: usize = 0; m < bytes; m += 16) addTo(to + m, weights + m, level)
  }
}

/**
 * Spread the maps by 3x3 and compute the rectified units over them.
 *
 * @param raw i32 [plane][maps], Q16. @param features i32 [plane][2 * maps], Q6: maps, then units.
 * @param spread i32 [9][maps]. @param hidden i32 [maps][units], one row a map that is read. @param bias i32 [units], Q16.
 */
export function computeFeatures(
  raw: usize,
  features: usize,
  maps: i32,
  height: i32,
  width: i32,
  stride: i32,
  spread: usize,
  hidden: usize,
  bias: usize,
): void {
  const bytes = <usize>maps << 2
  const zero = i32x4.splat(0)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = (y + 1) * stride + x + 2
      const to = features + <usize>here * bytes * 2
      for (let m: usize = 0; m < bytes; m += 16) {
        let sum = zero
        for (let k = 0; k < SURROUNDINGS; k++) {
          const from = raw + <usize>(here + (k / 3 - 1) * stride + (k % 3) - 1) * bytes + m
          const energy = i32x4.shr_s(v128.load(from), FRACTION)
          sum = i32x4.add(sum, i32x4.mul(energy, v128.load(spread + <usize>k * bytes + m)))
        }
        v128.store(to + m, i32x4.shr_s(sum, FRACTION))
      }
      for (let u: usize = 0; u < bytes; u += 16) {
        let sum = v128.load(bias + u)
        for (let m = 0; m < maps; m++)
          sum = i32x4.add(
            sum,
            i32x4.mul(i32x4.splat(load<i32>(to + (<usize>m << 2))), v128.load(hidden + <usize>m * bytes + u)),
          )
        v128.store(to + bytes + u, i32x4.max_s(zero, i32x4.shr_s(sum, FRACTION)))
      }
    }
  }
}

/** Add what the features say of one channel to its scales. @param reads i32 [count]. */
export function addReads(scale: usize, features: usize, count: i32, reads: usize, first: i32, end: i32): void {
  const bytes = <usize>count << 2
  let from = features + <usize>first * bytes
  for (let i = first; i < end; i++, from += bytes) {
    let sum = i32x4.mul(v128.load(from), v128.load(reads))
    for (let k: usize = 16; k < bytes; k += 16)
      sum = i32x4.add(sum, i32x4.mul(v128.load(from + k), v128.load(reads + k)))
    // Two lanes at a time: 2 3 _ _ onto 0 1 _ _, then 1 onto 0.
    sum = i32x4.add(sum, v128.shuffle<i32>(sum, sum, 2, 3, 0, 1))
    const to = scale + (<usize>i << 2)
    store<i32>(to, load<i32>(to) + i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1))
  }
}

// What both directions of a channel's walk share; set before it, so that calls stay short.
let height: i32 = 0
let width: i32 = 0
let stride: i32 = 0
let mean: usize = 0
let scale: usize = 0
let levels: usize = 0
let maxMagnitude: i32 = 0
let scaleShift: i32 = 0
let scaleOffset: i32 = 0
let lastScale: i32 = 0
let starts: usize = 0
let firsts: usize = 0
let reaches: usize = 0
let skipped: usize = 0

export function configure(
  ofHeight: i32,
  ofWidth: i32,
  ofStride: i32,
  ofMean: usize,
  ofScale: usize,
  ofLevels: usize,
  ofMaxMagnitude: i32,
  ofScaleShift: i32,
  ofScaleOffset: i32,
  ofLastScale: i32,
  ofStarts: usize,
  ofFirsts: usize,
  ofReaches: usize,
  ofSkipped: usize,
): void {
  height = ofHeight
  width = ofWidth
  stride = ofStride
  mean = ofMean
  scale = ofScale
  levels = ofLevels
  maxMagnitude = ofMaxMagnitude
  scaleShift = ofScaleShift
  scaleOffset = ofScaleOffset
  lastScale = ofLastScale
  starts = ofStarts
  firsts = ofFirsts
  reaches = ofReaches
  skipped = ofSkipped
}

// @ts-ignore: decorator of AssemblyScript
@inline
function tableAt(here: usize, quarters: i32): usize {
  const index = (load<i32>(scale + here) + scaleOffset) >> scaleShift
  return <usize>(min(lastScale, max(0, index)) * 4 + (quarters & 3)) << 2
}

/** Push a symbol that is not zero and note it down. */
// @ts-ignore: decorator of AssemblyScript
@inline
function announce(here: i32, symbol: i32, weights: usize, place: usize, found: usize): void {
  const bounded = min(maxMagnitude, max(-maxMagnitude, symbol))
  const level = load<i32>(levels + (<usize>abs(bounded) << 2))
  const offset = <usize>here << 2
  push(mean + offset, stride, weights, bounded)
  push(scale + offset, stride, weights + (TAPS << 2), level)
  store<i32>(place, here)
  store<i32>(found, level)
}

/** Intervals written so far by `encodeChannel`; start it at the number that stand before. */
export let intervalCount: i32 = 0
export function setIntervalCount(count: i32): void {
  intervalCount = count
}

// @ts-ignore: decorator of AssemblyScript
@inline
function put(intervals: usize, start: u32, frequency: u32): void {
  const to = intervals + (<usize>intervalCount << 3)
  store<u32>(to, start)
  store<u32>(to, frequency, 4)
  intervalCount++
}

/**
 * @param symbols i16 [height, width] of one channel. @param expected The same of the prediction, or 0 for none.
 * @param weights i32 [12] for means, then [12] for scales, in the order of `push`.
 * @param intervals u32 pairs of start and frequency. @param room How many fit.
 * @returns Symbols that are not zero, listed in `places` and `found`; -1 when the intervals do not fit.
 */
export function encodeChannel(
  symbols: usize,
  expected: usize,
  weights: usize,
  places: usize,
  found: usize,
  intervals: usize,
  room: i32,
): i32 {
  let count = 0
  for (let y = 0; y < height; y++) {
    // A row of escapes takes 42 intervals a symbol at most.
    if (intervalCount + width * 48 > room) return -1
    let here = (y + 1) * stride + 2
    for (let x = 0; x < width; x++, here++) {
      const place = y * width + x
      if (skipped && load<u8>(skipped + place)) continue
      const before = expected ? <i32>load<i16>(expected + (<usize>place << 1)) : 0
      const symbol = <i32>load<i16>(symbols + (<usize>place << 1)) - before
      const quarters = (load<i32>(mean + (<usize>here << 2)) + 0x2000) >> 14
      const table = tableAt(<usize>here << 2, quarters)
      const reach = load<i32>(reaches + table)
      const escape = 2 * reach + 2
      const slot = symbol - (quarters >> 2) + reach
      const own = <u32>slot < <u32>escape
      const at = starts + (<usize>(load<i32>(firsts + table) + (own ? slot : escape)) << 2)
      const start = load<u32>(at)
      put(intervals, start, load<u32>(at, 4) - start)
      if (!own) {
        const excess = slot < 0 ? 2 * (-slot - 1) + 1 : 2 * (slot - escape) + 2
        const digits = 32 - clz(excess)
        for (let i = 1; i < digits; i++) put(intervals, 0, 0x8000)
        for (let i = digits - 1; i >= 0; i--) put(intervals, ((excess >> i) & 1) * 0x8000, 0x8000)
      }
      if (symbol != 0) {
        announce(here, symbol, weights, places + (<usize>count << 2), found + (<usize>count << 2))
        count++
      }
    }
  }
  return count
}

/** The rANS decoder: where it reads, how far it may, and its state. */
export let position: usize = 0
export let state: u32 = 0
let limit: usize = 0
export function setDecoder(ofPosition: usize, ofLimit: usize, ofState: u32): void {
  position = ofPosition
  limit = ofLimit
  state = ofState
}

// @ts-ignore: decorator of AssemblyScript
@inline
function take(start: u32, frequency: u32): void {
  state = frequency * (state >> 16) + (state & 0xffff) - start
  if (state < STATE_FLOOR) {
    // A short payload reads as zeros; the caller sees where reading ended.
    const word: u32 = position + 2 <= limit ? <u32>load<u16>(position) : 0
    position += 2
    state = (state << 16) | word
  }
}

function takeBit(): i32 {
  const bit = (state & 0xffff) >= 0x8000 ? 1 : 0
  take(<u32>bit << 15, 0x8000)
  return bit
}

/** The bits of the last channel that was decoded with `wantBits`. */
export let channelBits: f64 = 0

/** @returns As `encodeChannel`; -1 for an escape that is too long, -2 for a symbol beyond int16. */
export function decodeChannel(
  symbols: usize,
  expected: usize,
  weights: usize,
  places: usize,
  found: usize,
  wantBits: bool,
): i32 {
  let count = 0
  channelBits = 0
  for (let y = 0; y < height; y++) {
    let here = (y + 1) * stride + 2
    for (let x = 0; x < width; x++, here++) {
      const place = y * width + x
      const before = expected ? <i32>load<i16>(expected + (<usize>place << 1)) : 0
      if (skipped && load<u8>(skipped + place)) {
        store<i16>(symbols + (<usize>place << 1), <i16>before)
        continue
      }
      const quarters = (load<i32>(mean + (<usize>here << 2)) + 0x2000) >> 14
      const table = tableAt(<usize>here << 2, quarters)
      const reach = load<i32>(reaches + table)
      const escape = 2 * reach + 2
      const first = starts + (<usize>load<i32>(firsts + table) << 2)
      const target = state & 0xffff
      // Most symbols equal their mean: look there before searching.
      let low = reach
      let high = reach
      if (target < load<u32>(first + (<usize>low << 2))) low = 0
      else if (target >= load<u32>(first + (<usize>low << 2), 4)) high = escape
      while (low < high) {
        const middle = (low + high + 1) >> 1
        if (load<u32>(first + (<usize>middle << 2)) <= target) low = middle
        else high = middle - 1
      }
      const start = load<u32>(first + (<usize>low << 2))
      const frequency = load<u32>(first + (<usize>low << 2), 4) - start
      take(start, frequency)
      if (wantBits) channelBits += 16 - Math.log2(<f64>frequency)
      let slot = low
      if (slot == escape) {
        let digits = 1
        while (takeBit() == 0) if (++digits > MAX_PREFIX + 1) return -1
        let value = 1
        for (let i = 1; i < digits; i++) value = value * 2 + takeBit()
        if (wantBits) channelBits += 2 * digits - 1
        const excess = value - 1
        slot = excess & 1 ? escape + (excess >> 1) : -(excess >> 1) - 1
      }
      const symbol = (quarters >> 2) + slot - reach
      const value = before + symbol
      if (value < -32768 || value > 32767) return -2
      store<i16>(symbols + (<usize>place << 1), <i16>value)
      if (symbol != 0) {
        announce(here, symbol, weights, places + (<usize>count << 2), found + (<usize>count << 2))
        count++
      }
    }
  }
  return count
}
