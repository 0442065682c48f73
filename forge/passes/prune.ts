import { ModelError } from '@espalier/shared/errors'
import { describeNode } from '../graph/attributes.ts'
import { Channels, type Row, removeChannels } from '../graph/channels.ts'
import { hoistConstants } from '../graph/constants.ts'
import type { Shapes } from '../graph/cost.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { floatsOf, sizeOf, type Tensor } from '../graph/tensor.ts'

export const PRUNE_SCORES = ['l1', 'l2', 'bn', 'taylor'] as const
export type PruneScore = (typeof PRUNE_SCORES)[number]

export interface PruneOptions {
  /** Share of the channels that can go which goes, in [0, 1). */
  readonly ratio: number
  readonly score?: PruneScore
  /** Rank all channels together instead of taking the same share of each layer. */
  readonly isGlobal?: boolean
  /** A layer keeps a multiple of this many channels, and at least one such; native runtimes like 16. */
  readonly multiple?: number
  /** Weight name -> gradient of the loss, in the weight's own order; of `score: 'taylor'`. */
  readonly gradients?: ReadonlyMap<string, ArrayLike<number>>
}

export interface PruneReport {
  /** Layers whose channels go together, with how many of those that can go they had and have. */
  readonly layers: readonly { readonly makers: readonly string[]; readonly before: number; readonly after: number }[]
  readonly locked: readonly { readonly maker: string; readonly channels: number; readonly reason: string }[]
}

/** Channels that go together. */
interface Candidate {
  readonly id: number
  readonly score: number
}

/** Layers that are tied channel by channel. */
interface Layer {
  readonly makers: readonly string[]
  /** Channels of one layer that each candidate stands for: more than one where groups go alike. */
  readonly width: number
  readonly candidates: readonly Candidate[]
}

/** Where the numbers of one row lie in a tensor. */
function* placesOf({ dims }: Tensor, axis: number, index: number): Generator<number> {
  const outer = sizeOf(dims.slice(0, axis))
  const inner = sizeOf(dims.slice(axis + 1))
  for (let o = 0; o < outer; o++) {
    const from = (o * dims[axis]! + index) * inner
    for (let i = from; i < from + inner; i++) yield i
  }
}

/** What one row of a weight weighs. */
type RowScore = (row: Row) => number | undefined

const isGamma = ({ node, tensor }: Row): boolean =>
  node.opType === 'BatchNormalization' && tensor === node.inputs[1] && tensor !== node.inputs[2]

/**
 * L1 or L2 norm of the weights that make the channel (Li et al. 2017), |gamma| of its batch norms (Liu et al. 2017), or
 * the sum of |weight times gradient| (first-order Taylor, Molchanov et al. 2019).
 */
function rowScore(graph: Graph, { score = 'l2', gradients }: PruneOptions): RowScore {
  const read = new Map<string, Float64Array>()
  const valuesOf = (name: string): Float64Array => {
    const values = read.get(name) ?? floatsOf(graph.initializers.get(name)!, name)
    read.set(name, values)
    return values
  }
  const sumOver = ({ tensor, axis, index }: Row, each: (i: number) => number): number => {
    let sum = 0
    for (const i of placesOf(graph.initializers.get(tensor)!, axis, index)) sum += each(i)
    return sum
  }
  return (row) => {
    if (score === 'bn') return isGamma(row) ? Math.abs(valuesOf(row.tensor)[row.index]!) : undefined
    if (row.role !== 'makes') return undefined
    const values = valuesOf(row.tensor)
    if (score === 'l1') return sumOver(row, (i) => Math.abs(values[i]!))
    if (score === 'l2') return Math.sqrt(sumOver(row, (i) => values[i]! ** 2))
    const gradient = gradients?.get(row.tensor)
    if (gradient?.length !== values.length)
      throw new ModelError(
        `Cannot score "${row.tensor}" of ${describeNode(row.node)}: found ${gradient?.length ?? 'no'} gradients, expected ${values.length}`,
      )
    return sumOver(row, (i) => Math.abs(values[i]! * gradient[i]!))
  }
}

/** The mean over all rows that have one: layers that are tied each have their say. */
function scoreOf(rows: readonly Row[], score: RowScore): number | undefined {
  const scores = rows.flatMap((row) => score(row) ?? [])
  return scores.length === 0 ? undefined : scores.reduce((sum, value) => sum + value, 0) / scores.length
}

function collectLayers(graph: Graph, channels: Channels, options: PruneOptions) {
  const score = rowScore(graph, options)
  const numbers = new Map(graph.nodes.map((node, i) => [node, i]))
  const layers = new Map<string, { makers: string[]; width: number; candidates: Candidate[] }>()
  const locked = new Map<string, { maker: string; channels: number; reason: string }>()
  for (const id of channels.ids) {
    const { rows, locked: lock } = channels.classOf(id)
    const made = rows.filter(({ role }) => role === 'makes')
    const nodes = [...new Set<Node>(made.map(({ node }) => node))]
    const makers = nodes.map(({ name, outputs }) => name || outputs[0]!)
    // By number, because names need not differ.
    const key = nodes
      .map((node) => numbers.get(node)!)
      .sort()
      .join()
    const width = made.filter(({ node }) => node === nodes[0]).length
    const found = lock === undefined ? scoreOf(rows, score) : undefined
    if (found === undefined) {
      const reason = lock ?? 'no BatchNormalization follows it'
      const entry = locked.get(`${key} ${reason}`) ?? { maker: makers.join(), channels: 0, reason }
      entry.channels += width
      locked.set(`${key} ${reason}`, entry)
      continue
    }
    const layer = layers.get(key) ?? { makers, width, candidates: [] }
    layer.candidates.push({ id, score: found })
    layers.set(key, layer)
  }
  return { layers: [...layers.values()], locked: [...locked.values()] }
}

/** Norms of different layers compare only after each is divided by its layer's mean. */
function normalised({ makers, width, candidates }: Layer): Layer {
  const mean = candidates.reduce((sum, { score }) => sum + score, 0) / candidates.length || 1
  return { makers, width, candidates: candidates.map(({ id, score }) => ({ id, score: score / mean })) }
}

/** How many candidates of a layer stay: whole multiples, never none. */
function keptOf({ candidates, width }: Layer, wanted: number, multiple: number): number {
  const each = Math.max(1, Math.ceil(multiple / width))
  const rounded = Math.ceil((candidates.length - wanted) / each) * each
  return Math.min(candidates.length, Math.max(each, rounded))
}

/**
 * Take out the channels that matter least, in groups that residual sums, depthwise filters, groups and concatenations
 * tie together (DepGraph's dependencies, Fang et al. 2023). Nothing heals the loss: fine-tune afterwards.
 *
 * @param shapes Of every value.
 * @throws {RangeError} If the ratio is no share. @throws {ModelError} If no channel can go, or the score cannot be had
 *   of this model.
 */
export function prune(original: Graph, shapes: Shapes, options: PruneOptions): { graph: Graph; report: PruneReport } {
  const { ratio, isGlobal = false, multiple = 1 } = options
  if (!(ratio >= 0 && ratio < 1)) throw new RangeError(`Cannot prune by ${ratio}: expected a share in [0, 1)`)
  const graph = hoistConstants(original)
  const channels = new Channels(graph, shapes)
  const { layers, locked } = collectLayers(graph, channels, options)
  if (layers.length === 0) {
    const reasons = locked.map(({ maker, reason }) => `"${maker}": ${reason}`).join('; ')
    throw new ModelError(
      `Cannot prune model: no channel can go; ${reasons || 'it has no convolution or matrix with constant weights'}`,
    )
  }
  const ranked = layers.map(normalised)
  const all = ranked.flatMap(({ candidates }) => candidates.map(({ score }) => score)).sort((a, b) => a - b)
  const threshold = all[Math.floor(ratio * all.length)]!
  const gone = new Set<number>()
  const report = ranked.map((layer) => {
    const { makers, width, candidates } = layer
    const wanted = isGlobal
      ? candidates.filter(({ score }) => score < threshold).length
      : Math.floor(ratio * candidates.length)
    const kept = keptOf(layer, wanted, multiple)
    const weakest = candidates.toSorted((a, b) => a.score - b.score).slice(0, candidates.length - kept)
    for (const { id } of weakest) gone.add(id)
    return { makers, before: candidates.length * width, after: kept * width }
  })
  return { graph: removeChannels(graph, channels, gone), report: { layers: report, locked } }
}
