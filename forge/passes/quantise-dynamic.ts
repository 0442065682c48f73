import { ModelError } from '@espalier/shared/errors'
import { floatOf, intAttribute } from '../graph/attributes.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { namerOf } from '../graph/namer.ts'
import { rewrite } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, type Tensor, TYPE } from '../graph/tensor.ts'
import { quantiseWeight, WEIGHT_LIMITS } from './quantise-scales.ts'
import {
  checkNotQuantised,
  findWeighted,
  nameOf,
  type QuantiseOptions,
  type QuantiseReport,
  type Weighted,
} from './quantise-weights.ts'

type Name = (wanted: string) => string

interface Made {
  readonly nodes: readonly Node[]
  readonly initializers: ReadonlyMap<string, Tensor>
}

/** A node that is called as what it makes. */
const plain = (
  opType: string,
  name: string,
  inputs: readonly string[],
  attributes: Node['attributes'] = new Map(),
) => ({
  name,
  opType,
  domain: '',
  inputs,
  outputs: [name] as string[],
  attributes,
})

/** Rows become columns. */
function transposed(values: Int8Array, [rows, columns]: readonly [number, number]): Int8Array {
  return Int8Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
}

/** A weight of a matrix as MatMulInteger wants it: int8 of [inputs, outputs]. */
function matrixTensor({ weight, axis }: Weighted, values: Int8Array): Tensor {
  const [rows, columns] = weight.dims as [number, number]
  const [own, dims] = axis === 1 ? [values, [rows, columns]] : [transposed(values, [rows, columns]), [columns, rows]]
  return { type: TYPE.INT8, dims, data: new Uint8Array(own.slice().buffer) }
}

/** Of convolutions, uint8 about 128: onnxruntime-web takes twenty times as long for ones of int8 (measured, 1.30). */
const KERNEL_ZERO = 128
const kernelTensor = ({ weight }: Weighted, values: Int8Array): Tensor => ({
  type: TYPE.UINT8,
  dims: weight.dims,
  data: Uint8Array.from(values, (value) => value + KERNEL_ZERO),
})

/** The product in integers, its scale, and the bias. @param narrow The input's integers, its scale and its zero. */
function quantiseNode(weighted: Weighted, narrow: readonly string[], limit: number, name: Name): Made {
  const { node, weight, weightName, bias, biasName, axis } = weighted
  const own = nameOf(node)
  const initializers = new Map<string, Tensor>()
  const put = (suffix: string, tensor: Tensor): string => {
    const made = name(`${own}.${suffix}`)
    initializers.set(made, tensor)
    return made
  }
  const [integers, inputScale, inputZero] = narrow as [string, string, string]
  const { values, scales } = quantiseWeight(weight, axis, weightName, { limit })
  const isConv = node.opType === 'Conv'
  // Channels of a convolution lie on the second axis, those of a matrix on the last.
  const along = isConv ? [1, scales.length, ...Array<number>(weight.dims.length - 2).fill(1)] : [scales.length]
  const product = isConv
    ? plain(
        'ConvInteger',
        name(`${own}.integers`),
        [
          integers,
          put('weight.uint8', kernelTensor(weighted, values)),
          inputZero,
          put('weight.zero', { type: TYPE.UINT8, dims: [], data: Uint8Array.of(KERNEL_ZERO) }),
        ],
        node.attributes,
      )
    : plain('MatMulInteger', name(`${own}.integers`), [
        integers,
        put('weight.int8', matrixTensor(weighted, values)),
        inputZero,
      ])
  const [alpha, beta] = isConv ? [1, 1] : [floatOf(node, 'alpha', 1), floatOf(node, 'beta', 1)]
  const to = new Map([['to', intAttribute('to', TYPE.FLOAT)]])
  const wide = plain('Cast', name(`${own}.floats`), [product.name], to)
  const steps = put(
    'weight.scale',
    floatTensor(
      scales.map((scale) => scale * alpha),
      along,
    ),
  )
  const scale = plain('Mul', name(`${own}.scale`), [inputScale, steps])
  const last = plain('Mul', name(`${own}.scaled`), [wide.name, scale.name])
  // What comes last takes the node's place, and its name.
  const ended = (each: Node): Node => ({ ...each, name: node.name, outputs: node.outputs })
  if (bias === undefined) return { nodes: [product, wide, scale, ended(last)], initializers }
  const shift = floatTensor(
    floatsOf(bias, biasName).map((value) => value * beta),
    isConv ? along : bias.dims,
  )
  const added = plain('Add', name(`${own}.added`), [last.name, put('bias', shift)])
  return { nodes: [product, wide, scale, last, ended(added)], initializers }
}

/**
 * Weights of 8 bits; activations are quantised as they come, each by its own range. Needs no calibration.
 *
 * @throws {ModelError} If nothing can be quantised, the opset has no dynamic quantisation, or it was quantised before.
 */
export function quantiseDynamic(graph: Graph, options: QuantiseOptions = {}): { graph: Graph; report: QuantiseReport } {
  checkNotQuantised(graph)
  if (graph.opset < 11)
    throw new ModelError(
      `Cannot quantise model: found opset ${graph.opset}, expected 11 or newer, which has DynamicQuantizeLinear`,
    )
  const { found, left } = findWeighted(graph, options)
  if (found.length === 0)
    throw new ModelError(
      `Cannot quantise model: it has no convolution or matrix whose weights can be integers; ${left.map(({ node, reason }) => `"${node}": ${reason}`).join('; ') || 'found none'}`,
    )
  const name = namerOf(graph)
  const limit = options.isReduced ? WEIGHT_LIMITS.reduced : WEIGHT_LIMITS.full
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  // One for all that read the same value, as queries, keys and values do.
  const narrowed = new Map<string, readonly string[]>()
  for (const weighted of found) {
    const { node } = weighted
    const input = node.inputs[0]!
    const outputs = narrowed.get(input) ?? ['uint8', 'scale', 'zero'].map((part) => name(`${input}.${part}`))
    const made = quantiseNode(weighted, outputs, limit, name)
    const first = { ...plain('DynamicQuantizeLinear', outputs[0]!, [input]), outputs: [...outputs] }
    nodes.set(node, narrowed.has(input) ? made.nodes : [first, ...made.nodes])
    narrowed.set(input, outputs)
    for (const [key, tensor] of made.initializers) initializers.set(key, tensor)
  }
  return {
    graph: rewrite(graph, { nodes, initializers }),
    report: { mode: 'dynamic', quantised: found.map(({ node }) => nameOf(node)), left },
  }
}
