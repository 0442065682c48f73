import { floatOf, intOf } from '../graph/attributes.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewire } from '../graph/rewrite.ts'
import { sizeOf } from '../graph/tensor.ts'
import { findLayers, type Layer, matrixOf, storeMatrix } from './layers.ts'

/** An adapter in series: h + up(act(down(h))), both without bias, the activation one value at a time (methods.md 9.1). */
export interface SeriesAdapter {
  /** The sum at its end. */
  readonly sum: Node
  /** h. */
  readonly input: string
  readonly down: Layer
  readonly up: Layer
  readonly neurons: number
}

/** Operators that act on each value alone; with constants of one number they do so whatever the number of neurons. */
const ELEMENTWISE = new Set(
  'Abs Add Cast Celu Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Mul Neg Pow Relu Selu Sigmoid Softplus Softsign Sqrt Sub Tanh ThresholdedRelu'.split(
    ' ',
  ),
)

/** More than any activation is made of, GELU of its five or the eight of its approximation. */
const LONGEST_ACTIVATION = 16

function hasNoBias(node: Node): boolean {
  return !node.inputs[2] && intOf(node, 'transA', 0) === 0 && floatOf(node, 'alpha', 1) === 1
}

/** The nodes between two layers, if they act on each value alone and nobody else reads what they make. */
function activationBetween(graph: Graph, wiring: Wiring, from: string, to: Node): Node[] | undefined {
  const between = new Set<Node>()
  const open = [to.inputs[0]!]
  while (open.length > 0) {
    const value = open.pop()!
    if (value === from) continue
    const node = wiring.producerOf(value)
    if (node === undefined || node.domain !== '' || !ELEMENTWISE.has(node.opType)) return undefined
    if (between.has(node)) continue
    between.add(node)
    if (between.size > LONGEST_ACTIVATION) return undefined
    for (const name of node.inputs) {
      const constant = graph.initializers.get(name)
      if (constant !== undefined && sizeOf(constant.dims) !== 1) return undefined
      if (constant === undefined && name !== '') open.push(name)
    }
  }
  const isOwn = [from, ...[...between].flatMap(({ outputs }) => outputs)].every(
    (value) =>
      !wiring.isOutput(value) && wiring.consumersOf(value).every((reader) => reader === to || between.has(reader)),
  )
  return isOwn ? [...between] : undefined
}

function seriesAt(graph: Graph, wiring: Wiring, layers: readonly Layer[], sum: Node): SeriesAdapter | undefined {
  for (const [input, update] of [sum.inputs, [...sum.inputs].reverse()] as [string, string][]) {
    const up = layers.find(({ node }) => node.outputs[0] === update)
    if (up === undefined || !hasNoBias(up.node) || wiring.onlyConsumerOf(update) !== sum) continue
    const down = layers.find(
      ({ node, outputs }) => node.inputs[0] === input && outputs === up.inputs && node !== up.node && hasNoBias(node),
    )
    // A bottleneck and not a block: fewer neurons than values.
    if (down === undefined || down.inputs !== up.outputs || down.outputs > down.inputs) continue
    if (activationBetween(graph, wiring, down.node.outputs[0]!, up.node) === undefined) continue
    return { sum, input, down, up, neurons: down.outputs }
  }
  return undefined
}

/** The adapters in series of a graph, in the order in which they run. */
export function findSeries(graph: Graph): SeriesAdapter[] {
  const wiring = new Wiring(graph)
  const all = findLayers(graph)
  const layers = all.filter(
    ({ kind, weight }) => kind === 'matrix' && all.filter((other) => other.weight === weight).length === 1,
  )
  return graph.nodes.flatMap((node) =>
    node.opType === 'Add' && node.domain === '' ? (seriesAt(graph, wiring, layers, node) ?? []) : [],
  )
}

/** Some rows of a matrix of this many columns. */
const takeRows = (matrix: Float64Array, columns: number, rows: readonly number[]): Float64Array =>
  Float64Array.from(
    { length: rows.length * columns },
    (_, i) => matrix[rows[Math.floor(i / columns)]! * columns + (i % columns)]!,
  )

/** Some of this many columns of a matrix. */
const takeColumns = (matrix: Float64Array, columns: number, kept: readonly number[]): Float64Array =>
  Float64Array.from(
    { length: (matrix.length / columns) * kept.length },
    (_, i) => matrix[Math.floor(i / kept.length) * columns + kept[i % kept.length]!]!,
  )

/**
 * Take neurons out of adapters in series: rows of down, columns of up. One with none left is the identity and goes.
 *
 * @param kept Which neurons each keeps, in order; adapters that are absent stay as they are.
 */
export function cutSeries(graph: Graph, kept: ReadonlyMap<SeriesAdapter, readonly number[]>): Graph {
  const initializers = new Map(graph.initializers)
  const gone = new Map<string, string>()
  for (const [{ sum, input, down, up, neurons }, neuronsKept] of kept) {
    if (neuronsKept.length === 0) {
      gone.set(sum.outputs[0]!, input)
      continue
    }
    const sizes = { outputs: neuronsKept.length, inputs: down.inputs }
    const store = (layer: Layer, matrix: Float64Array): void => {
      const { type } = graph.initializers.get(layer.weight)!
      const dims = layer.isTurned ? [layer.inputs, layer.outputs] : [layer.outputs, layer.inputs]
      initializers.set(layer.weight, storeMatrix(matrix, layer, { dims, type }))
    }
    store({ ...down, ...sizes }, takeRows(matrixOf(graph, down), down.inputs, neuronsKept))
    store({ ...up, inputs: neuronsKept.length }, takeColumns(matrixOf(graph, up), neurons, neuronsKept))
  }
  return rewire({ ...graph, initializers }, gone)
}
