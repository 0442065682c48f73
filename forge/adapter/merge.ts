import { ModelError } from '@espalier/shared/errors'
import type { Graph } from '../graph/graph.ts'
import { TYPE } from '../graph/tensor.ts'
import { findLayers, type Layer, matrixOf, storeMatrix } from './layers.ts'
import { type Adapter, type Pair, productOf } from './pair.ts'

/** From here on a value rounds to infinity. */
const OVERFLOW: Readonly<Record<number, number>> = {
  [TYPE.FLOAT16]: 65520,
  [TYPE.FLOAT]: (2 - 2 ** -24) * 2 ** 127,
}

/**
 * The layers that each pair updates.
 *
 * @throws {ModelError} If a pair's weight is in no layer, is of another shape, or has two pairs.
 */
export function layersByPair(graph: Graph, adapter: Adapter): Map<Pair, readonly Layer[]> {
  const layers = findLayers(graph)
  const seen = new Set<string>()
  return new Map(
    adapter.map((pair) => {
      const { weight, outputs, inputs, rank, up, down } = pair
      const own = layers.filter((layer) => layer.weight === weight)
      const [first] = own
      if (first === undefined)
        throw new ModelError(
          `Cannot adapt weight "${weight}": found no such weight of a MatMul, Gemm or Conv, expected one of ${layers.length}${layers.length === 0 ? '' : `, as "${layers[0]!.weight}"`}`,
        )
      if (first.outputs !== outputs || first.inputs !== inputs)
        throw new ModelError(
          `Cannot adapt weight "${weight}": found a pair for ${outputs} x ${inputs}, expected ${first.outputs} x ${first.inputs}`,
        )
      if (up.length !== outputs * rank || down.length !== rank * inputs)
        throw new ModelError(
          `Cannot adapt weight "${weight}": found ${up.length} and ${down.length} numbers, expected ${outputs * rank} and ${rank * inputs} of rank ${rank}`,
        )
      if (seen.has(weight)) throw new ModelError(`Cannot adapt weight "${weight}": found two pairs, expected one`)
      seen.add(weight)
      return [pair, own]
    }),
  )
}

/**
 * Add an adapter to the weights: weight + alpha * up * down, summed in float64 and rounded once to the weight's own
 * type. At alpha 0 the graph is the one given, bit for bit.
 *
 * @throws {ModelError} As `layersByPair`, or if a sum is more than its type can hold.
 */
export function mergeAdapter(graph: Graph, adapter: Adapter, alpha: number): Graph {
  const layers = layersByPair(graph, adapter)
  if (alpha === 0) return graph
  const initializers = new Map(graph.initializers)
  for (const [pair, [layer]] of layers) {
    const before = graph.initializers.get(pair.weight)!
    const product = productOf(pair)
    const sum = matrixOf(graph, layer!).map((value, i) => value + alpha * product[i]!)
    const most = OVERFLOW[before.type] ?? Number.POSITIVE_INFINITY
    if (!sum.every((value) => Math.abs(value) < most))
      throw new ModelError(
        `Cannot merge into "${pair.weight}": found sums that its type cannot hold, expected all below ${most}; lower alpha`,
      )
    initializers.set(pair.weight, storeMatrix(sum, layer!, before))
  }
  return { ...graph, initializers }
}
