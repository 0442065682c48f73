import { z } from 'zod'
import { IntegrityError } from '../errors.ts'
import { PROBABILITY_BITS, RansDecoder, RansEncoder } from './rans.ts'

/**
 * The context model in integers. Each symbol has a mean and a scale computed from symbols coded before it; the two
 * choose one of the shipped frequency tables. Fixed point: Qn is an integer times 2^-n. Floating point decides
 * nothing here, so that every device decodes what any other encoded (methods 12.7).
 *
 * @see forge/training/kodo_entropy.py: the same arithmetic, and the exporter that proves it stays within 32 bits.
 */
const integersSchema = z.array(
  z
    .int()
    .min(-(2 ** 31))
    .max(2 ** 31 - 1),
)
const alphaLinearSchema = z.object({ base: integersSchema, delta: integersSchema })
const entropySchema = z.object({
  format: z.literal('espalier-entropy/1'),
  channels: z.int().min(1).max(4096),
  /** Sizes of the channel groups; a group sees the energy of all earlier ones. */
  groups: z.array(z.int().min(1)).min(1),
  energyMaps: z.int().min(1).max(64),
  /** Q6 log(1 + magnitude) for magnitudes 0.. */
  levels: z.array(z.int().min(0)).min(2),
  logScale: z.object({ min: z.number(), perUnit: z.literal([1, 2, 4, 8, 16]), count: z.int().min(1) }),
  meanBias: alphaLinearSchema,
  meanTaps: alphaLinearSchema,
  scaleBias: alphaLinearSchema,
  scaleTaps: alphaLinearSchema,
  maps: z.array(alphaLinearSchema),
  spreads: z.array(alphaLinearSchema),
  reads: z.array(alphaLinearSchema),
  /** [log-scale index][mean fraction in quarters]: frequencies of residuals -reach..reach+1, then of an escape. */
  tables: z.array(z.array(z.array(z.int().min(1).max(65536)).min(3)).length(4)),
})
type EntropyDocument = z.infer<typeof entropySchema>

const TAPS = 12
const TABLES_PER_SCALE = 4

interface Table {
  /** Cumulative frequencies, one more than symbols. */
  readonly starts: Uint32Array
  readonly reach: number
}

/** The weights at one alpha. */
interface Weights {
  readonly meanBias: Int32Array
  readonly meanTaps: Int32Array
  readonly scaleBias: Int32Array
  readonly scaleTaps: Int32Array
  readonly maps: readonly Int32Array[]
  readonly spreads: readonly Int32Array[]
  readonly reads: readonly Int32Array[]
}

/** Hands a symbol through (encoding) or finds it (decoding); both walk the same contexts. */
interface SymbolPort {
  next(symbol: number, mean: number, table: Table): number
}

/** base + alpha255 * delta / 255, rounded towards zero. */
function atAlpha({ base, delta }: { base: readonly number[]; delta: readonly number[] }, alpha255: number): Int32Array {
  return Int32Array.from(base, (value, i) => value + Math.trunc((delta[i]! * alpha255) / 255))
}

function checkShape(document: EntropyDocument): void {
  const { channels, groups, energyMaps, logScale, tables } = document
  const lengths: [string, { base: number[]; delta: number[] } | undefined, number][] = [
    ['meanBias', document.meanBias, channels],
    ['meanTaps', document.meanTaps, channels * TAPS],
    ['scaleBias', document.scaleBias, channels],
    ['scaleTaps', document.scaleTaps, channels * TAPS],
  ]
  let before = groups[0]!
  groups.slice(1).forEach((size, i) => {
    lengths.push([`maps[${i}]`, document.maps[i], energyMaps * before])
    lengths.push([`spreads[${i}]`, document.spreads[i], energyMaps * 9])
    lengths.push([`reads[${i}]`, document.reads[i], size * energyMaps])
    before += size
  })
  for (const [name, values, expected] of lengths)
    if (values?.base.length !== expected || values.delta.length !== expected)
      throw new IntegrityError(
        `Cannot read entropy tables: "${name}" has ${values?.base.length ?? 0} values, expected ${expected}`,
      )
  if (document.levels[0] !== 0)
    throw new IntegrityError(`Cannot read entropy tables: the level of zero is ${document.levels[0]}, expected 0`)
  if (before !== channels || tables.length !== logScale.count)
    throw new IntegrityError(
      `Cannot read entropy tables: groups hold ${before} channels of ${channels}, ${tables.length} scales of ${logScale.count}`,
    )
}

function toTable(frequencies: readonly number[], name: string): Table {
  const starts = new Uint32Array(frequencies.length + 1)
  for (let i = 0; i < frequencies.length; i++) starts[i + 1] = starts[i]! + frequencies[i]!
  if (starts.at(-1) !== 2 ** PROBABILITY_BITS || frequencies.length % 2 !== 1)
    throw new IntegrityError(
      `Cannot read entropy tables: table ${name} has ${frequencies.length} frequencies that sum to ${starts.at(-1)}, expected an odd number and 65536`,
    )
  return { starts, reach: (frequencies.length - 3) / 2 }
}

interface PlaneSettings {
  readonly levels: Int32Array
  readonly tables: readonly Table[]
  readonly scaleShift: number
  readonly scaleOffset: number
  readonly lastScale: number
}

/** Works through one channel at a time in the same buffers: two rows above and two columns beside it are zero. */
class ChannelPlane {
  readonly #height: number
  readonly #width: number
  readonly #settings: PlaneSettings
  readonly #clamped: Int32Array
  readonly #level: Int32Array

  constructor(height: number, width: number, settings: PlaneSettings) {
    this.#height = height
    this.#width = width
    this.#settings = settings
    this.#clamped = new Int32Array((width + 4) * (height + 2))
    this.#level = new Int32Array((width + 4) * (height + 2))
  }

  /**
   * @param symbols One channel, [height, width]; read and written back through the port.
   * @param finished Receives the channel's levels.
   * @param scales What the earlier channels say of each place, Q16.
   */
  walk(
    symbols: Int16Array,
    finished: Int32Array,
    scales: Int32Array,
    meanBias: number,
    meanTaps: Int32Array,
    scaleTaps: Int32Array,
    port: SymbolPort,
  ): void {
    const { levels, tables, scaleShift, scaleOffset, lastScale } = this.#settings
    const [clamped, level, width] = [this.#clamped, this.#level, this.#width]
    const maxMagnitude = levels.length - 1
    const stride = width + 4
    clamped.fill(0)
    level.fill(0)
    for (let y = 0; y < this.#height; y++) {
      for (let x = 0; x < width; x++) {
        const here = (y + 2) * stride + x + 2
        const at = y * width + x
        let mean = meanBias
        let scale = scales[at]!
        // Two rows of five above, two to the left: a stretch of five, five and two taps.
        for (let k = 0, there = here - 2 * stride - 2; k < TAPS; k++, there++) {
          if (k === 5) there = here - stride - 2
          else if (k === 10) there = here - 2
          // Most neighbours are zero, and then add nothing.
          if (level[there] === 0) continue
          mean += meanTaps[k]! * clamped[there]!
          scale += scaleTaps[k]! * level[there]!
        }
        const quarters = (mean + 0x2000) >> 14
        const index = Math.min(lastScale, Math.max(0, (scale + scaleOffset) >> scaleShift))
        const symbol = port.next(symbols[at]!, quarters >> 2, tables[index * TABLES_PER_SCALE + (quarters & 3)]!)
        symbols[at] = symbol
        if (symbol !== 0) {
          const bounded = Math.min(maxMagnitude, Math.max(-maxMagnitude, symbol))
          clamped[here] = bounded
          level[here] = finished[at] = levels[Math.abs(bounded)]!
        }
      }
    }
  }
}

export class ContextModel {
  readonly channels: number
  readonly #document: EntropyDocument
  readonly #tables: readonly Table[]
  #weights: { alpha255: number; weights: Weights } | undefined

  /** @throws {IntegrityError} If the bytes are no entropy document of this format. */
  constructor(bytes: Uint8Array) {
    let json: unknown
    try {
      json = JSON.parse(new TextDecoder().decode(bytes))
    } catch (cause) {
      throw new IntegrityError('Cannot read entropy tables: found no JSON text', { cause })
    }
    const parsed = entropySchema.safeParse(json)
    if (!parsed.success)
      throw new IntegrityError(`Cannot read entropy tables: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
    checkShape(parsed.data)
    this.#document = parsed.data
    this.channels = parsed.data.channels
    this.#tables = parsed.data.tables.flatMap((row, i) => row.map((f, quarter) => toTable(f, `${i}/${quarter}`)))
  }

  /**
   * @param symbols [channels, height, width], each within int16.
   * @returns The rANS payload.
   */
  encode(symbols: Int16Array, height: number, width: number, alpha255: number): Uint8Array {
    const encoder = new RansEncoder()
    this.#walk(symbols, height, width, alpha255, {
      next(symbol, mean, { starts, reach }) {
        const residual = symbol - mean
        const slot = residual + reach
        const escapeSlot = starts.length - 2
        if (slot >= 0 && slot < escapeSlot) {
          encoder.put(starts[slot]!, starts[slot + 1]! - starts[slot]!)
        } else {
          encoder.put(starts[escapeSlot]!, starts[escapeSlot + 1]! - starts[escapeSlot]!)
          encoder.putEscape(slot < 0 ? 2 * (-slot - 1) : 2 * (slot - escapeSlot) + 1)
        }
        return symbol
      },
    })
    return encoder.finish()
  }

  /**
   * @returns [channels, height, width].
   * @throws {IntegrityError} If the payload does not end with its last symbol, or holds a value beyond int16.
   */
  decode(payload: Uint8Array, height: number, width: number, alpha255: number): Int16Array {
    const decoder = new RansDecoder(payload)
    const symbols = new Int16Array(this.channels * height * width)
    this.#walk(symbols, height, width, alpha255, {
      next(_, mean, { starts, reach }) {
        const place = decoder.peek()
        const escapeSlot = starts.length - 2
        let low = 0
        let high = escapeSlot
        // Most symbols equal their mean: look there before searching.
        if (starts[reach]! <= place && place < starts[reach + 1]!) low = high = reach
        while (low < high) {
          const middle = (low + high + 1) >> 1
          if (starts[middle]! <= place) low = middle
          else high = middle - 1
        }
        decoder.take(starts[low]!, starts[low + 1]! - starts[low]!)
        if (low !== escapeSlot) return mean + low - reach
        const excess = decoder.takeEscape()
        const slot = excess & 1 ? escapeSlot + (excess >> 1) : -(excess >> 1) - 1
        const symbol = mean + slot - reach
        if (symbol < -32768 || symbol > 32767)
          throw new IntegrityError(`Cannot decode payload: found symbol ${symbol}, expected -32768..32767`)
        return symbol
      },
    })
    decoder.finish()
    return symbols
  }

  #at(alpha255: number): Weights {
    if (this.#weights?.alpha255 !== alpha255) {
      const d = this.#document
      this.#weights = {
        alpha255,
        weights: {
          meanBias: atAlpha(d.meanBias, alpha255),
          meanTaps: atAlpha(d.meanTaps, alpha255),
          scaleBias: atAlpha(d.scaleBias, alpha255),
          scaleTaps: atAlpha(d.scaleTaps, alpha255),
          maps: d.maps.map((m) => atAlpha(m, alpha255)),
          spreads: d.spreads.map((s) => atAlpha(s, alpha255)),
          reads: d.reads.map((r) => atAlpha(r, alpha255)),
        },
      }
    }
    return this.#weights.weights
  }

  /** Visit every symbol in coding order: channel by channel, each in raster order. */
  #walk(symbols: Int16Array, height: number, width: number, alpha255: number, port: SymbolPort): void {
    const { groups, levels, logScale } = this.#document
    const weights = this.#at(alpha255)
    const area = height * width
    const scaleShift = 16 - Math.log2(logScale.perUnit)
    // Levels of all finished channels, for the energy maps of later groups.
    const finished = new Int32Array(this.channels * area)
    const scales = new Int32Array(area)
    const plane = new ChannelPlane(height, width, {
      levels: Int32Array.from(levels),
      tables: this.#tables,
      scaleShift,
      scaleOffset: -Math.trunc(logScale.min * 65536) + (1 << (scaleShift - 1)),
      lastScale: logScale.count - 1,
    })

    let first = 0
    groups.forEach((size, group) => {
      const energy = group === 0 ? undefined : this.#energy(finished, first, height, width, weights, group - 1)
      for (let channel = first; channel < first + size; channel++) {
        scales.fill(weights.scaleBias[channel]!)
        if (energy !== undefined) addReads(scales, energy, weights.reads[group - 1]!, channel - first, area)
        const taps = channel * TAPS
        plane.walk(
          symbols.subarray(channel * area, (channel + 1) * area),
          finished.subarray(channel * area, (channel + 1) * area),
          scales,
          weights.meanBias[channel]!,
          weights.meanTaps.subarray(taps, taps + TAPS),
          weights.scaleTaps.subarray(taps, taps + TAPS),
          port,
        )
      }
      first += size
    })
  }

  /** Energy maps of all channels before `count`, blurred 3x3: [maps, area] in Q6. */
  #energy(
    finished: Int32Array,
    count: number,
    height: number,
    width: number,
    weights: Weights,
    link: number,
  ): Int32Array {
    const { energyMaps } = this.#document
    const area = height * width
    const maps = weights.maps[link]!
    const spread = weights.spreads[link]!
    const blurred = new Int32Array(energyMaps * area)
    const stride = width + 2
    const raw = new Int32Array(energyMaps * area)
    const padded = new Int32Array(stride * (height + 2))
    // Channels outside, maps inside: most levels are zero and are passed over once for all maps.
    for (let channel = 0; channel < count; channel++) {
      for (let i = 0; i < area; i++) {
        const level = finished[channel * area + i]!
        if (level === 0) continue
        for (let map = 0; map < energyMaps; map++) raw[map * area + i]! += maps[map * count + channel]! * level
      }
    }
    for (let map = 0; map < energyMaps; map++) {
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) padded[(y + 1) * stride + x + 1] = raw[map * area + y * width + x]! >> 10
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          let sum = 0
          for (let k = 0; k < 9; k++)
            sum += spread[map * 9 + k]! * padded[(y + Math.floor(k / 3)) * stride + x + (k % 3)]!
          blurred[map * area + y * width + x] = sum >> 10
        }
      }
    }
    return blurred
  }
}

function addReads(scales: Int32Array, energy: Int32Array, reads: Int32Array, row: number, area: number): void {
  const maps = energy.length / area
  for (let map = 0; map < maps; map++) {
    const weight = reads[row * maps + map]!
    for (let i = 0; i < area; i++) scales[i]! += weight * energy[map * area + i]!
  }
}
