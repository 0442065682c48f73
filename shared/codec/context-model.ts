import { IntegrityError } from '../errors.ts'
import { ContextKernel } from './context-kernel.ts'
import {
  type EntropyDocument,
  type EntropyWeights,
  entropyWeightsAt,
  NEIGHBOURS,
  parseEntropyDocument,
  SURROUNDINGS,
  toFrequencyTables,
} from './entropy-document.ts'
import type { RansDecoder, RansEncoder } from './rans.ts'

/** What a frame is coded against. */
export interface Prediction {
  /** [channels, height, width]: what each symbol is expected to be. Only the difference is coded. */
  readonly symbols: Int16Array
  /** [height, width]: 1 where all channels equal the prediction, and nothing is coded. */
  readonly skipped: Uint8Array
  /** [height, width]: 1 where the prediction stands for something; elsewhere it must be zero. */
  readonly predicted: Uint8Array
}

/** The size of a grid of latents, and what a frame of them is coded with. */
export interface SymbolFrame {
  readonly height: number
  readonly width: number
  readonly alpha255: number
  readonly prediction?: Prediction | undefined
}

/** The order in which the kernel adds a symbol's weights to those that will look at it, as indices of NEIGHBOURS. */
const PUSH_ORDER = [
  [-1, 2],
  [-1, 1],
  [-1, 0],
  [-1, -1],
  [-1, -2],
  [-2, 2],
  [-2, 1],
  [-2, 0],
  [-2, -1],
  [-2, -2],
  [0, -1],
  [0, -2],
].map(([dy, dx]) => NEIGHBOURS.findIndex(([y, x]) => y === dy && x === dx))
/** Intervals a symbol takes, on average, before room is made for escapes. */
const INTERVALS_PER_SYMBOL = 1.25

/** Addresses of one frame's buffers in the kernel's memory. */
interface FrameBuffers {
  readonly stride: number
  /** Places of a plane, with a row above, two below and two columns on each side that belong to no symbol. */
  readonly planeSize: number
  readonly mean: number
  readonly scale: number
  readonly raw: number
  readonly features: number
  readonly symbols: number
  /** Of the prediction; 0 without one. */
  readonly expected: number
  readonly predicted: number
  /** Places and levels of the symbols that are not zero, channel after channel, as many as there are symbols. */
  readonly places: number
  readonly found: number
}

/** Works a channel through once its means and scales are set; returns how many of its symbols are not zero. */
type ChannelWalk = (channel: number, buffers: FrameBuffers, listed: number, taps: number) => number

/** Addresses of the weights at one alpha in the kernel's memory. */
interface StoredWeights extends EntropyWeights {
  readonly taps: number
  readonly surroundings: number
  readonly energies: readonly number[]
  readonly spreadsAt: readonly number[]
  readonly hiddenAt: readonly number[]
  readonly hiddenBiasAt: readonly number[]
  readonly readsAt: readonly number[]
}

/** [rows, columns] -> [columns, rows]. */
function transpose(values: Int32Array, columns: number): Int32Array {
  const rows = values.length / columns
  return Int32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
}

/** Two tensors of as many values a channel, behind one another channel by channel. */
function interleave(a: Int32Array, b: Int32Array, each: number, order?: readonly number[]): Int32Array {
  const pick = (values: Int32Array, channel: number, k: number): number => values[channel * each + (order?.[k] ?? k)]!
  return Int32Array.from({ length: a.length * 2 }, (_, i) => {
    const channel = Math.floor(i / (2 * each))
    const k = i % (2 * each)
    return k < each ? pick(a, channel, k) : pick(b, channel, k - each)
  })
}

/**
 * Each symbol has a mean and a scale computed from symbols coded before it; the two choose one of the shipped
 * frequency tables. Fixed point: Qn is an integer times 2^-n. Channels are coded one after another, each in raster
 * order. Most symbols are zero and add nothing to what others expect, so each one that is not pushes its weights to
 * the places that will look at it. The inner loops are in kernel/context.ts.
 *
 * @see forge/training/kodo_model.py ContextModel, of which this is the integer form (Q6 levels, Q10 weights).
 */
export class ContextModel {
  readonly channels: number
  readonly #kernel: ContextKernel
  readonly #document: EntropyDocument
  readonly #tables: {
    readonly starts: number
    readonly firsts: number
    readonly reaches: number
    readonly levels: number
  }
  /** Where the weights begin in the kernel's memory, behind the tables. */
  readonly #weightsFrom: number
  #weights: { alpha255: number; stored: StoredWeights } | undefined

  private constructor(kernel: ContextKernel, document: EntropyDocument) {
    this.#kernel = kernel
    this.#document = document
    this.channels = document.channels
    const { starts, firsts, reaches } = toFrequencyTables(document)
    this.#tables = {
      starts: kernel.store(starts),
      firsts: kernel.store(firsts),
      reaches: kernel.store(reaches),
      levels: kernel.store(Int32Array.from(document.levels)),
    }
    this.#weightsFrom = kernel.mark()
  }

  /** @throws {IntegrityError} If the bytes are no entropy document of this format. */
  static async open(bytes: Uint8Array): Promise<ContextModel> {
    const document = parseEntropyDocument(bytes)
    return new ContextModel(await ContextKernel.open(), document)
  }

  /** @param symbols [channels, height, width], each within int16. */
  write(encoder: RansEncoder, symbols: Int16Array, frame: SymbolFrame): void {
    const kernel = this.#kernel
    const weights = this.#at(frame.alpha255)
    const mark = kernel.mark()
    for (let perSymbol = INTERVALS_PER_SYMBOL; ; perSymbol *= 4) {
      const buffers = this.#reserve(frame)
      kernel.int16(buffers.symbols, symbols.length).set(symbols)
      const room = Math.ceil(symbols.length * perSymbol) + frame.width * 64
      const intervals = kernel.reserve(room * 8)
      kernel.functions.setIntervalCount(0)
      const area = frame.height * frame.width
      const done = this.#walk(frame, weights, buffers, (channel, { expected, places, found }, listed, taps) =>
        kernel.functions.encodeChannel(
          buffers.symbols + channel * area * 2,
          expected === 0 ? 0 : expected + channel * area * 2,
          taps,
          places + listed * 4,
          found + listed * 4,
          intervals,
          room,
        ),
      )
      if (done) encoder.append(kernel.uint32(intervals, kernel.functions.intervalCount.value * 2))
      kernel.release(mark)
      if (done) return
    }
  }

  /**
   * @param bitsByChannel Where given, receives what each channel's symbols cost.
   * @returns [channels, height, width].
   * @throws {IntegrityError} If a symbol cannot be. That all was read is the decoder's to say (`finish`).
   */
  read(decoder: RansDecoder, frame: SymbolFrame, bitsByChannel?: Float64Array): Int16Array {
    const kernel = this.#kernel
    const weights = this.#at(frame.alpha255)
    const mark = kernel.mark()
    const area = frame.height * frame.width
    const buffers = this.#reserve(frame)
    const payload = kernel.store(decoder.bytes)
    kernel.functions.setDecoder(payload + decoder.position, payload + decoder.bytes.length, decoder.state)
    try {
      this.#walk(frame, weights, buffers, (channel, { symbols, expected, places, found }, listed, taps) => {
        const count = kernel.functions.decodeChannel(
          symbols + channel * area * 2,
          expected === 0 ? 0 : expected + channel * area * 2,
          taps,
          places + listed * 4,
          found + listed * 4,
          bitsByChannel === undefined ? 0 : 1,
        )
        if (count < 0)
          throw new IntegrityError(
            `Cannot decode payload: found ${count === -1 ? 'an escape over 2^20' : 'a symbol beyond int16'} in channel ${channel}`,
          )
        if (bitsByChannel !== undefined) bitsByChannel[channel] = kernel.functions.channelBits.value
        return count
      })
      decoder.resume(kernel.functions.position.value - payload, kernel.functions.state.value >>> 0)
      return kernel.int16(buffers.symbols, this.channels * area).slice()
    } finally {
      kernel.release(mark)
    }
  }

  /** Symbols as they would be had they been made at another alpha: steps grow with it. [channels, height, width]. */
  rescale(symbols: Int16Array, fromAlpha255: number, toAlpha255: number): Int16Array {
    if (fromAlpha255 === toAlpha255) return symbols
    const { stepLog2, exp2 } = this.#document
    const area = symbols.length / this.channels
    const scaled = new Int16Array(symbols.length)
    for (let channel = 0; channel < this.channels; channel++) {
      const log2 = Math.trunc((-stepLog2[channel]! * (toAlpha255 - fromAlpha255)) / 255)
      // Exact in doubles: 16 bits of symbol times 17 of mantissa, then a shift.
      const factor = exp2[log2 & 255]! * 2 ** ((log2 >> 8) - 16)
      for (let i = channel * area; i < (channel + 1) * area; i++) {
        const magnitude = Math.min(32767, Math.floor(Math.abs(symbols[i]!) * factor + 0.5))
        scaled[i] = symbols[i]! < 0 ? -magnitude : magnitude
      }
    }
    return scaled
  }

  #at(alpha255: number): StoredWeights {
    if (this.#weights?.alpha255 !== alpha255) {
      const kernel = this.#kernel
      kernel.release(this.#weightsFrom)
      const weights = entropyWeightsAt(this.#document, alpha255)
      const { energyMaps } = this.#document
      const store = (values: readonly Int32Array[]): number[] => values.map((each) => kernel.store(each))
      const stored: StoredWeights = {
        ...weights,
        taps: kernel.store(interleave(weights.meanTaps, weights.scaleTaps, NEIGHBOURS.length, PUSH_ORDER)),
        surroundings: kernel.store(interleave(weights.referenceMean, weights.referenceScale, SURROUNDINGS.length)),
        // From [maps, channels] to a channel's maps together, and so on: what the kernel adds at once lies together.
        energies: store(weights.maps.map((maps) => transpose(maps, maps.length / energyMaps))),
        spreadsAt: store(weights.spreads.map((spread) => transpose(spread, SURROUNDINGS.length))),
        hiddenAt: store(weights.hidden.map((hidden) => transpose(hidden, energyMaps))),
        hiddenBiasAt: store(weights.hiddenBias),
        readsAt: store(weights.reads),
      }
      this.#weights = { alpha255, stored }
    }
    return this.#weights.stored
  }

  #reserve({ height, width, prediction }: SymbolFrame): FrameBuffers {
    const kernel = this.#kernel
    const { energyMaps } = this.#document
    const stride = width + 4
    const planeSize = stride * (height + 3)
    const area = height * width
    const buffers = {
      stride,
      planeSize,
      mean: kernel.reserve(planeSize * 4),
      scale: kernel.reserve(planeSize * 4),
      raw: kernel.reserve(planeSize * energyMaps * 4),
      features: kernel.reserve(planeSize * energyMaps * 8),
      symbols: kernel.reserve(this.channels * area * 2),
      expected: prediction === undefined ? 0 : kernel.store(prediction.symbols),
      predicted: prediction === undefined ? 0 : kernel.store(prediction.predicted),
      places: kernel.reserve(this.channels * area * 4),
      found: kernel.reserve(this.channels * area * 4),
    }
    const skipped = prediction === undefined ? 0 : kernel.store(prediction.skipped)
    const { levels, logScale } = this.#document
    const scaleShift = 16 - Math.log2(logScale.perUnit)
    const { starts, firsts, reaches } = this.#tables
    kernel.functions.configure(
      height,
      width,
      stride,
      buffers.mean,
      buffers.scale,
      this.#tables.levels,
      levels.length - 1,
      scaleShift,
      -Math.trunc(logScale.min * 65536) + (1 << (scaleShift - 1)),
      logScale.count - 1,
      starts,
      firsts,
      reaches,
      skipped,
    )
    kernel.functions.fill(buffers.features, planeSize * energyMaps * 2, 0)
    return buffers
  }

  /** Visit every channel in coding order. @returns False where the walk gave up. */
  #walk(frame: SymbolFrame, weights: StoredWeights, buffers: FrameBuffers, walkChannel: ChannelWalk): boolean {
    const { fill, addList, addEnergy, addPrediction, addReads, computeFeatures } = this.#kernel.functions
    const { groups, energyMaps, besideChannels, levels } = this.#document
    const { height, width } = frame
    const { stride, planeSize, mean, scale, raw, features, places, found } = buffers
    const area = height * width
    const ends = new Int32Array(this.channels + 1)
    let groupFirst = 0
    for (const [group, size] of groups.entries()) {
      if (group > 0) {
        fill(raw, planeSize * energyMaps, 0)
        for (let channel = 0; channel < groupFirst; channel++) {
          const [from, to] = [ends[channel]!, ends[channel + 1]!]
          const column = weights.energies[group - 1]! + channel * energyMaps * 4
          addEnergy(raw, energyMaps, places + from * 4, found + from * 4, to - from, column)
        }
        const [spread, hidden] = [weights.spreadsAt[group - 1]!, weights.hiddenAt[group - 1]!]
        const bias = weights.hiddenBiasAt[group - 1]!
        computeFeatures(raw, features, energyMaps, height, width, stride, spread, hidden, bias)
      }
      for (let channel = groupFirst; channel < groupFirst + size; channel++) {
        fill(mean, planeSize, weights.meanBias[channel]!)
        fill(scale, planeSize, weights.scaleBias[channel]!)
        if (group > 0) {
          const reads = weights.readsAt[group - 1]! + (channel - groupFirst) * energyMaps * 8
          addReads(scale, features, 2 * energyMaps, reads, stride + 2, stride * height + width + 2)
        }
        for (let k = 1; k <= besideChannels && k <= channel; k++) {
          const [from, to] = [ends[channel - k]!, ends[channel - k + 1]!]
          const weight = weights.beside[channel * besideChannels + k - 1]!
          if (to > from) addList(scale, places + from * 4, found + from * 4, to - from, weight)
        }
        if (frame.prediction !== undefined) {
          const around = weights.surroundings + channel * 2 * SURROUNDINGS.length * 4
          const symbols = buffers.expected + channel * area * 2
          const bias = weights.referenceBias[channel]!
          const { levels: levelsAt } = this.#tables
          const { predicted } = buffers
          const maxMagnitude = levels.length - 1
          addPrediction(mean, scale, height, width, stride, symbols, predicted, levelsAt, maxMagnitude, around, bias)
        }
        const taps = weights.taps + channel * 2 * NEIGHBOURS.length * 4
        const count = walkChannel(channel, buffers, ends[channel]!, taps)
        if (count < 0) return false
        ends[channel + 1] = ends[channel]! + count
      }
      groupFirst += size
    }
    return true
  }
}
