import { ModelError } from '@espalier/shared/errors'
import { Channels, removeChannels } from '../graph/channels.ts'
import type { Shapes } from '../graph/cost.ts'
import type { Graph } from '../graph/graph.ts'
import { floatsOf, floatTensor, isFloat, sizeOf, type Tensor } from '../graph/tensor.ts'
import { hoistConstants } from './fold.ts'

export const PRUNE_SCORES = ['l1', 'l2', 'bn', 'taylor'] as const
export type PruneScore = (typeof PRUNE_SCORES)[number]

export interface PruneOptions {
  /** Share of the channels that can go which goes, in [0, 1). */
  readonly ratio: number
  readonly score?: PruneScore
  /** Rank all channels together instead of taking the same share of each layer. */
  readonly isGlobal?: boolean
  /** A layer keeps a multiple of this many channels, and at least one such. */
  readonly multiple?: number
  /** Tensor name -> loss gradient, of `score: 'taylor'`. */
  readonly gradients?: ReadonlyMap<string, Float64Array>
}

export interface PruneReport {
  /** Layers whose channels go together, with how many they had and have. */
  readonly layers: readonly { readonly makers: readonly string[]; readonly before: number; readonly after: number }[]
  readonly locked: readonly { readonly maker: string; readonly channels: number; readonly reason: string }[]
}

/** Numbers of one row of a tensor. */
function* rowOf({ dims }: Tensor, axis: number, index: number): Generator<number> {
  const outer = sizeOf(dims.slice(0, axis))
  const inner = sizeOf(dims.slice(axis + 1))
  for (let o = 0; o < outer; o++) {
    const from = (o * dims[axis]! + index) * inner
    for (let i = from; i < from + inner; i++) yield i
  }
}

class Scorer {
  readonly #values = new Map<string, Float64Array>()
  readonly #graph: Graph
  readonly #options: PruneOptions

  constructor(graph: Graph, options: PruneOptions) {
    this.#graph = graph
    this.#options = options
  }

  #of(name: string): Float64Array {
    const values = this.#values.get(name) ?? floatsOf(this.#graph.initializers.get(name)!, name)
    this.#values.set(name, values)
    return values
  }

  /**
   * L1 or L2 norm of the rows that make the channel (Li et al. 2017), |gamma| of its batch norms (Liu et al. 2017), or
   * |sum of weight times gradient| over them (first-order Taylor, Molchanov et al. 2019).
   */
  score(channels: Channels, id: number): number | undefined {
    const { rows } = channels.classOf(id)
    const kind = this.#options.score ?? 'l2'
    let [sum, count] = [0, 0]
    for (const { tensor, axis, index, role, node } of rows) {
      const isGamma = node.opType === 'BatchNormalization' && tensor === node.inputs[1]
      if (kind === 'bn' ? !isGamma : role !== 'makes') continue
      const values = this.#of(tensor)
      if (kind === 'bn') {
        sum += Math.abs(values[index]!)
        count++
        continue
      }
      const gradient = kind === 'taylor' ? this.#options.gradients?.get(tensor) : undefined
      if (kind === 'taylor' && gradient?.length !== values.length)
        throw new ModelError(
          `Cannot score "${tensor}": found ${gradient?.length ?? 'no'} gradients, expected ${values.length}`,
        )
      let own = 0
      for (const i of rowOf(this.#graph.initializers.get(tensor)!, axis, index))
        own += kind === 'l1' ? Math.abs(values[i]!) : kind === 'l2' ? values[i]! ** 2 : values[i]! * gradient![i]!
      sum += kind === 'l2' ? Math.sqrt(own) : Math.abs(own)
      count++
    }
    return count === 0 ? undefined : sum / count
  }
}

/**
 * Take out the channels that matter least, in groups that residual sums, depthwise filters and concatenations tie
 * together (DepGraph's dependencies, Fang et al. 2023). Nothing heals the loss: fine-tune afterwards.
 *
 * @throws {ModelError} If no channel can go, or the score cannot be had of this model.
 */
export function prune(original: Graph, shapes: Shapes, options: PruneOptions): { graph: Graph; report: PruneReport } {
  if (!(options.ratio >= 0 && options.ratio < 1))
    throw new RangeError(`Cannot prune by ${options.ratio}: expected a share in [0, 1)`)
  const graph = hoistConstants(original)
  const channels = new Channels(graph, shapes)
  const scorer = new Scorer(graph, options)
  const layers = new Map<string, { makers: Set<string>; scored: { id: number; score: number }[] }>()
  const locked = new Map<string, { maker: string; channels: number; reason: string }>()
  for (const id of channels.ids) {
    const found = channels.classOf(id)
    const makers = new Set(
      found.rows.filter(({ role }) => role === 'makes').map(({ node }) => node.name || node.outputs[0]!),
    )
    const key = [...makers].join()
    if (found.locked !== undefined) {
      const entry = locked.get(key) ?? { maker: key, channels: 0, reason: found.locked }
      entry.channels++
      locked.set(key, entry)
      continue
    }
    const score = scorer.score(channels, id)
    if (score === undefined) {
      locked.set(key, { maker: key, channels: (locked.get(key)?.channels ?? 0) + 1, reason: 'no BatchNorm follows it' })
      continue
    }
    const layer = layers.get(key) ?? { makers, scored: [] }
    layer.scored.push({ id, score })
    layers.set(key, layer)
  }
  if (layers.size === 0)
    throw new ModelError(
      `Cannot prune model: no channel can go; ${[...locked.values()].map(({ maker, reason }) => `${maker}: ${reason}`).join('; ') || 'it has no convolution or matrix with constant weights'}`,
    )
  // Norms of different layers compare only after each is divided by its layer's mean.
  const ranked = [...layers.values()].map(({ makers, scored }) => {
    const mean = scored.reduce((sum, { score }) => sum + score, 0) / scored.length || 1
    return {
      makers,
      scored: scored.map(({ id, score }) => ({ id, score: score / mean })).sort((a, b) => a.score - b.score),
    }
  })
  const all = ranked.flatMap(({ scored }) => scored.map(({ score }) => score)).sort((a, b) => a - b)
  const threshold = all[Math.floor(options.ratio * all.length)] ?? Number.POSITIVE_INFINITY
  const multiple = options.multiple ?? 1
  const gone = new Set<number>()
  const report = ranked.map(({ makers, scored }) => {
    const wanted = options.isGlobal
      ? scored.filter(({ score }) => score < threshold).length
      : Math.floor(options.ratio * scored.length)
    const kept = Math.min(scored.length, Math.max(multiple, Math.ceil((scored.length - wanted) / multiple) * multiple))
    for (const { id } of scored.slice(0, scored.length - kept)) gone.add(id)
    return { makers: [...makers], before: scored.length, after: kept }
  })
  return { graph: removeChannels(graph, channels, gone), report: { layers: report, locked: [...locked.values()] } }
}

export interface SparsityReport {
  readonly weights: number
  readonly zeros: number
}

/**
 * Set the smallest weights of all matrices and kernels to zero (Han et al. 2015), ranked together. Saves room where
 * weights are stored sparsely or compressed; no runtime here multiplies any less for it.
 */
export function sparsify(original: Graph, ratio: number): { graph: Graph; report: SparsityReport } {
  if (!(ratio >= 0 && ratio < 1)) throw new RangeError(`Cannot zero a share of ${ratio}: expected one in [0, 1)`)
  const graph = hoistConstants(original)
  const weights = new Map<string, Float64Array>()
  for (const node of graph.nodes)
    for (const name of ['Conv', 'Gemm', 'MatMul', 'ConvTranspose'].includes(node.opType)
      ? node.inputs.slice(0, 2)
      : []) {
      const tensor = graph.initializers.get(name)
      if (tensor !== undefined && isFloat(tensor) && tensor.dims.length >= 2) weights.set(name, floatsOf(tensor, name))
    }
  const magnitudes = Float64Array.from([...weights.values()].flatMap((values) => Array.from(values, Math.abs))).sort()
  const threshold = magnitudes[Math.floor(ratio * magnitudes.length)] ?? 0
  let zeros = 0
  const initializers = new Map(graph.initializers)
  for (const [name, values] of weights) {
    const kept = values.map((value) => (Math.abs(value) < threshold ? 0 : value))
    zeros += kept.reduce((count, value) => count + (value === 0 ? 1 : 0), 0)
    const { dims, type } = graph.initializers.get(name)!
    initializers.set(name, floatTensor(kept, dims, type))
  }
  return { graph: { ...graph, initializers }, report: { weights: magnitudes.length, zeros } }
}
