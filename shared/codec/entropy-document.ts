import { z } from 'zod'
import { IntegrityError } from '../errors.ts'
import { PROBABILITY_BITS } from './rans.ts'

/**
 * What the context model computes with: integers only, so that every device decodes what any other encoded
 * (methods 12.7). Written by forge/training/kodo_entropy.py, which also proves that no sum leaves 32 bits.
 */
const integersSchema = z.array(
  z
    .int()
    .min(-(2 ** 31))
    .max(2 ** 31 - 1),
)
/** A tensor that moves with alpha: base + alpha * delta. */
const alphaLinearSchema = z.object({ base: integersSchema, delta: integersSchema })
const entropySchema = z.object({
  format: z.literal('espalier-entropy/2'),
  channels: z.int().min(1).max(4096),
  /** Sizes of the channel groups; a group sees the energy of all earlier ones. */
  groups: z.array(z.int().min(1)).min(1),
  energyMaps: z.int().min(1).max(64),
  /** A symbol sees this many channels before its own at the same place. */
  besideChannels: z.int().min(0).max(64),
  /** Q6 log(1 + magnitude) for magnitudes 0.. */
  levels: z.array(z.int().min(0)).min(2),
  logScale: z.object({ min: z.number(), perUnit: z.literal([1, 2, 4, 8, 16]), count: z.int().min(1) }),
  meanBias: alphaLinearSchema,
  meanTaps: alphaLinearSchema,
  scaleBias: alphaLinearSchema,
  scaleTaps: alphaLinearSchema,
  beside: alphaLinearSchema,
  maps: z.array(alphaLinearSchema),
  spreads: z.array(alphaLinearSchema),
  hidden: z.array(alphaLinearSchema),
  hiddenBias: z.array(alphaLinearSchema),
  reads: z.array(alphaLinearSchema),
  /** What the symbols of the frame before say of this one's: 3x3 around the same place. */
  referenceMean: alphaLinearSchema,
  referenceScale: alphaLinearSchema,
  referenceBias: alphaLinearSchema,
  /** Q8 log2 of how much a channel's symbols shrink from alpha 0 to 1, and Q16 2^(i/256) for i in 0..255. */
  stepLog2: integersSchema,
  exp2: z.array(z.int().min(65536).max(131072)).length(256),
  /** [log-scale index][mean fraction in quarters]: frequencies of residuals -reach..reach+1, then of an escape. */
  tables: z.array(z.array(z.array(z.int().min(1).max(65536)).min(3)).length(4)),
})
type AlphaLinear = z.infer<typeof alphaLinearSchema>
export type EntropyDocument = z.infer<typeof entropySchema>

/** Causal neighbours of the same channel: two rows of five above, two to the left. */
export const NEIGHBOURS: readonly (readonly [dy: number, dx: number])[] = [
  ...[-2, -1].flatMap((dy) => [-2, -1, 0, 1, 2].map((dx) => [dy, dx] as const)),
  [0, -2],
  [0, -1],
]
/** Places around one, row by row. */
export const SURROUNDINGS: readonly (readonly [dy: number, dx: number])[] = [-1, 0, 1].flatMap((dy) =>
  [-1, 0, 1].map((dx) => [dy, dx] as const),
)

function checkShape(document: EntropyDocument): void {
  const { channels, groups, energyMaps, besideChannels, logScale, tables } = document
  const lengths: [string, AlphaLinear | undefined, number][] = [
    ['meanBias', document.meanBias, channels],
    ['meanTaps', document.meanTaps, channels * NEIGHBOURS.length],
    ['scaleBias', document.scaleBias, channels],
    ['scaleTaps', document.scaleTaps, channels * NEIGHBOURS.length],
    ['beside', document.beside, channels * besideChannels],
    ['referenceMean', document.referenceMean, channels * SURROUNDINGS.length],
    ['referenceScale', document.referenceScale, channels * SURROUNDINGS.length],
    ['referenceBias', document.referenceBias, channels],
    ['stepLog2', { base: document.stepLog2, delta: document.stepLog2 }, channels],
  ]
  let before = groups[0]!
  groups.slice(1).forEach((size, i) => {
    lengths.push([`maps[${i}]`, document.maps[i], energyMaps * before])
    lengths.push([`spreads[${i}]`, document.spreads[i], energyMaps * SURROUNDINGS.length])
    lengths.push([`hidden[${i}]`, document.hidden[i], energyMaps * energyMaps])
    lengths.push([`hiddenBias[${i}]`, document.hiddenBias[i], energyMaps])
    lengths.push([`reads[${i}]`, document.reads[i], size * 2 * energyMaps])
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

/** @throws {IntegrityError} If the bytes are no entropy document of this format. */
export function parseEntropyDocument(bytes: Uint8Array): EntropyDocument {
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
  return parsed.data
}

/** All frequency tables behind one another: table t holds places `firsts[t]`.. of `starts`. */
export interface FrequencyTables {
  /** Cumulative frequencies; one more than symbols in each table. */
  readonly starts: Uint32Array
  readonly firsts: Int32Array
  /** Residuals -reach..reach+1 have a place of their own; all others share the last, the escape. */
  readonly reaches: Int32Array
}
export const TABLES_PER_SCALE = 4

/** @throws {IntegrityError} If a table's frequencies do not fill the coder's interval. */
export function toFrequencyTables(document: EntropyDocument): FrequencyTables {
  const tables = document.tables.flat()
  const starts = new Uint32Array(tables.reduce((sum, table) => sum + table.length + 1, 0))
  const firsts = new Int32Array(tables.length)
  const reaches = new Int32Array(tables.length)
  let place = 0
  for (const [t, table] of tables.entries()) {
    firsts[t] = place
    reaches[t] = (table.length - 3) / 2
    for (const frequency of table) {
      starts[place + 1] = starts[place]! + frequency
      place++
    }
    if (starts[place] !== 2 ** PROBABILITY_BITS || table.length % 2 !== 1)
      throw new IntegrityError(
        `Cannot read entropy tables: table ${t} has ${table.length} frequencies that sum to ${starts[place]}, expected an odd number and 65536`,
      )
    place++
  }
  return { starts, firsts, reaches }
}

/** The document's tensors at one alpha. */
export interface EntropyWeights {
  readonly meanBias: Int32Array
  readonly meanTaps: Int32Array
  readonly scaleBias: Int32Array
  readonly scaleTaps: Int32Array
  readonly beside: Int32Array
  readonly maps: readonly Int32Array[]
  readonly spreads: readonly Int32Array[]
  readonly hidden: readonly Int32Array[]
  readonly hiddenBias: readonly Int32Array[]
  readonly reads: readonly Int32Array[]
  readonly referenceMean: Int32Array
  readonly referenceScale: Int32Array
  readonly referenceBias: Int32Array
}

/** base + alpha255 * delta / 255, rounded towards zero. */
export function entropyWeightsAt(document: EntropyDocument, alpha255: number): EntropyWeights {
  const at = ({ base, delta }: AlphaLinear): Int32Array =>
    Int32Array.from(base, (value, i) => value + Math.trunc((delta[i]! * alpha255) / 255))
  return {
    meanBias: at(document.meanBias),
    meanTaps: at(document.meanTaps),
    scaleBias: at(document.scaleBias),
    scaleTaps: at(document.scaleTaps),
    beside: at(document.beside),
    maps: document.maps.map(at),
    spreads: document.spreads.map(at),
    hidden: document.hidden.map(at),
    hiddenBias: document.hiddenBias.map(at),
    reads: document.reads.map(at),
    referenceMean: at(document.referenceMean),
    referenceScale: at(document.referenceScale),
    referenceBias: at(document.referenceBias),
  }
}
