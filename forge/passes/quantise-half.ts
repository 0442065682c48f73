import { ModelError } from '@espalier/shared/errors'
import { intAttribute } from '../graph/attributes.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { namerOf } from '../graph/namer.ts'
import { floatsOf, floatTensor, sizeOf, type Tensor, TYPE } from '../graph/tensor.ts'
import { checkNotQuantised, type QuantiseReport } from './quantise-weights.ts'

/** Fewer numbers save nothing, and are epsilons and bounds rather than weights. */
const LEAST = 64
/** Largest error of a weight, of the largest in its tensor: float16 has 11 bits, and numbers below 6e-5 have fewer. */
const MAX_ERROR = 2 ** -11

/** The tensor as float16, or why not. */
function narrowed(tensor: Tensor, name: string): Tensor | string {
  const values = floatsOf(tensor, name)
  const half = floatTensor(values, tensor.dims, TYPE.FLOAT16)
  const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
  const error = floatsOf(half, name).reduce(
    (largest, value, i) =>
      Math.max(largest, Number.isNaN(value - values[i]!) ? Infinity : Math.abs(value - values[i]!)),
    0,
  )
  if (error <= MAX_ERROR * most) return half
  return most > 65504
    ? `"${name}" reaches ${most.toExponential(1)}, more than float16 holds`
    : `"${name}" is at most ${most.toExponential(1)}, too little for float16`
}

/**
 * Weights stored as float16 and widened when the model opens: half the bytes, the same time.
 *
 * @throws {ModelError} If there is no weight of 64 numbers or more, or the model was quantised before.
 */
export function quantiseHalf(graph: Graph): { graph: Graph; report: QuantiseReport } {
  checkNotQuantised(graph)
  const name = namerOf(graph)
  const initializers = new Map<string, Tensor>()
  const casts: Node[] = []
  const quantised: string[] = []
  const left: QuantiseReport['left'][number][] = []
  const outputs = new Set(graph.outputs.map((output) => output.name))
  for (const [weight, tensor] of graph.initializers) {
    const isWeight = tensor.type === TYPE.FLOAT && sizeOf(tensor.dims) >= LEAST && !outputs.has(weight)
    const half = isWeight ? narrowed(tensor, weight) : tensor
    if (!isWeight || typeof half === 'string') {
      initializers.set(weight, tensor)
      if (typeof half === 'string') left.push({ node: weight, reason: half })
      continue
    }
    const narrow = name(`${weight}.fp16`)
    initializers.set(narrow, tensor.isSparse ? { ...half, isSparse: true } : half)
    casts.push({
      name: `${weight}.cast`,
      opType: 'Cast',
      domain: '',
      inputs: [narrow],
      outputs: [weight],
      attributes: new Map([['to', intAttribute('to', TYPE.FLOAT)]]),
    })
    quantised.push(weight)
  }
  if (quantised.length === 0)
    throw new ModelError(
      `Cannot store weights as float16: it has no float32 weight of ${LEAST} numbers or more that float16 holds`,
    )
  return {
    graph: { ...graph, nodes: [...casts, ...graph.nodes], initializers },
    report: { mode: 'fp16', quantised, left },
  }
}
