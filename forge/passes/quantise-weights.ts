import { ModelError } from '@espalier/shared/errors'
import { describeNode, intOf } from '../graph/attributes.ts'
import { type Graph, type Node, namesRead } from '../graph/graph.ts'
import { type Tensor, TYPE, typeName } from '../graph/tensor.ts'

export const QUANTISE_MODES = ['static', 'dynamic', 'fp16'] as const
export type QuantiseMode = (typeof QUANTISE_MODES)[number]

export interface QuantiseReport {
  readonly mode: QuantiseMode
  readonly quantised: readonly string[]
  readonly left: readonly { readonly node: string; readonly reason: string }[]
}

export interface QuantiseOptions {
  /** Weights of 7 bits: on x86 without VNNI sums of two products saturate at 16 bits, and these do not. */
  readonly isReduced?: boolean
  /** Depthwise convolutions stay as they are: onnxruntime-web takes longer for them in integers. */
  readonly keepsDepthwise?: boolean
}

/** A node whose weight can be one of integers. */
export interface Weighted {
  readonly node: Node
  readonly weight: Tensor
  readonly weightName: string
  /** Absent where there is none. */
  readonly bias: Tensor | undefined
  readonly biasName: string
  /** Axis of the outputs in the weight. */
  readonly axis: number
}

const WEIGHTED = new Set(['Conv', 'Gemm', 'MatMul', 'ConvTranspose'])

export const nameOf = ({ name, outputs }: Node): string => name || outputs[0]!

export const isDepthwise = ({ node, weight }: Weighted): boolean =>
  node.opType === 'Conv' && intOf(node, 'group', 1) > 1 && weight.dims[1] === 1

/** Why a node's weight stays as it is; undefined where it need not. */
function whyLeft(graph: Graph, node: Node, readers: ReadonlyMap<string, number>): string | undefined {
  const [, weightName = '', biasName = ''] = node.inputs
  const weight = graph.initializers.get(weightName)
  if (node.opType === 'ConvTranspose') return 'runtimes have no ConvTranspose of integers'
  if (weight === undefined) return `"${weightName}" varies: it is no weight`
  if (weight.type !== TYPE.FLOAT) return `"${weightName}" is of ${typeName(weight.type)}, expected FLOAT`
  if (readers.get(weightName)! > 1) return `another node reads "${weightName}" too`
  if (node.opType !== 'Conv' && weight.dims.length !== 2) return `"${weightName}" is no matrix`
  if (intOf(node, 'transA', 0) !== 0) return 'its input is transposed'
  if (biasName !== '' && graph.initializers.get(biasName)?.type !== TYPE.FLOAT)
    return `its bias "${biasName}" is no constant of floats`
  return undefined
}

/** The nodes whose weights can be integers, and of all others that have weights, why not. */
export function findWeighted(
  graph: Graph,
  { keepsDepthwise = false }: QuantiseOptions = {},
): { found: Weighted[]; left: QuantiseReport['left'][number][] } {
  const found: Weighted[] = []
  const left: QuantiseReport['left'][number][] = []
  const readers = new Map<string, number>()
  for (const node of graph.nodes) for (const name of namesRead(node)) readers.set(name, (readers.get(name) ?? 0) + 1)
  for (const node of graph.nodes) {
    if (!WEIGHTED.has(node.opType) || node.domain !== '') continue
    const reason = whyLeft(graph, node, readers)
    if (reason !== undefined) {
      left.push({ node: nameOf(node), reason })
      continue
    }
    const [, weightName = '', biasName = ''] = node.inputs
    const isOutputFirst = node.opType === 'Conv' || intOf(node, 'transB', 0) !== 0
    const own: Weighted = {
      node,
      weight: graph.initializers.get(weightName)!,
      weightName,
      bias: graph.initializers.get(biasName),
      biasName,
      axis: isOutputFirst ? 0 : 1,
    }
    if (keepsDepthwise && isDepthwise(own)) left.push({ node: nameOf(node), reason: 'depthwise, kept as asked' })
    else found.push(own)
  }
  return { found, left }
}

const QUANTISED =
  /^(QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|MatMulInteger|ConvInteger|QLinear\w+|QGemm|DynamicQuantize\w+|QAttention|MatMulNBits)$/

/** @throws {ModelError} If a model is quantised already: twice would lose twice. */
export function checkNotQuantised(graph: Graph): void {
  const node = graph.nodes.find(({ opType }) => QUANTISED.test(opType))
  if (node !== undefined)
    throw new ModelError(
      `Cannot quantise model: ${describeNode(node)} shows that it is quantised already; start from the original`,
    )
  const half = graph.nodes.find(
    ({ opType, inputs }) => opType === 'Cast' && graph.initializers.get(inputs[0]!)?.type === TYPE.FLOAT16,
  )
  if (half !== undefined)
    throw new ModelError(
      `Cannot quantise model: weight "${half.inputs[0]}" is stored as float16 already; start from the original`,
    )
}
