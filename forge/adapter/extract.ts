import { ModelError } from '@espalier/shared/errors'
import type { Graph } from '../graph/graph.ts'
import { svd } from '../graph/svd.ts'
import { floatsOf, isFloat } from '../graph/tensor.ts'
import { findLayers, type Layer, matrixOf } from './layers.ts'
import { type Adapter, type Pair, pairOf } from './pair.ts'
import { chooseRank, energyOf, type RankLimits } from './rank.ts'
import { pairInitializers } from './structure.ts'

export interface ExtractedLayer {
  readonly weight: string
  readonly rank: number
  /** What is lost: the length of the rest over the length of the whole change (Frobenius). */
  readonly lost: number
  /** How large the change is: its length over that of the weight. */
  readonly change: number
}

export interface ExtractReport {
  readonly layers: readonly ExtractedLayer[]
  /** Layers whose weights are alike. */
  readonly unchanged: number
  /** Constants that changed and that no pair can carry: biases, norms, embeddings. */
  readonly uncarried: readonly { readonly name: string; readonly change: number }[]
}

const lengthOf = (values: Float64Array): number => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0))

const minus = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value - b[i]!)

/** Change over size; the size counts as one where all of it is zero. */
const relative = (change: Float64Array, of: Float64Array): number => lengthOf(change) / (lengthOf(of) || 1)

function extractLayer(
  before: Float64Array,
  after: Float64Array,
  { weight, outputs, inputs }: Layer,
  limits: RankLimits,
): { pair: Pair; row: ExtractedLayer } | undefined {
  const change = minus(after, before)
  const found = change.some((value) => value !== 0) ? svd(change, outputs, inputs) : undefined
  if (found === undefined) return undefined
  const rank = chooseRank(found.values, limits)
  return {
    pair: pairOf(found, weight, rank),
    row: {
      weight,
      rank,
      lost: Math.sqrt(Math.max(0, 1 - energyOf(found.values, rank))),
      change: relative(change, before),
    },
  }
}

/**
 * The adapter that turns a base into what was fine-tuned from it: of each weight's change the largest singular
 * components, which no other pair of that rank comes closer to (Eckart and Young 1936).
 *
 * @param tuned The same structure; names may differ.
 * @throws {ModelError} If the structures differ, or no weight of a layer does.
 */
export function extractAdapter(
  base: Graph,
  tuned: Graph,
  limits: RankLimits,
): { adapter: Adapter; report: ExtractReport } {
  const names = pairInitializers(base, tuned)
  const layers = new Map(findLayers(base).map((layer) => [layer.weight, layer]))
  const pairs: Pair[] = []
  const rows: ExtractedLayer[] = []
  const uncarried: { name: string; change: number }[] = []
  let unchanged = 0
  for (const [name, theirs] of names) {
    const [a, b] = [base.initializers.get(name)!, tuned.initializers.get(theirs)!]
    const layer = layers.get(name)
    if (!isFloat(a) || !isFloat(b)) {
      if (!Buffer.from(a.data).equals(b.data))
        throw new ModelError(
          `Cannot extract an adapter: found whole numbers "${theirs}" that differ, expected those of "${name}" in the base`,
        )
      continue
    }
    if (layer === undefined) {
      const before = floatsOf(a, name)
      const change = relative(minus(floatsOf(b, theirs), before), before)
      if (change !== 0) uncarried.push({ name, change })
      continue
    }
    const found = extractLayer(matrixOf(base, layer), matrixOf(tuned, { ...layer, weight: theirs }), layer, limits)
    if (found === undefined) unchanged++
    else {
      rows.push(found.row)
      if (found.pair.rank > 0) pairs.push(found.pair)
    }
  }
  if (rows.length === 0)
    throw new ModelError(
      `Cannot extract an adapter: found no change in ${layers.size} weights of MatMul, Gemm and Conv${uncarried.length === 0 ? '' : `, but in ${uncarried.map((each) => `"${each.name}"`).join(', ')}`}; expected another model, fine-tuned from this one`,
    )
  return { adapter: pairs, report: { layers: rows, unchanged, uncarried } }
}
