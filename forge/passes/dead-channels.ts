import { floatOf, intOf } from '../graph/attributes.ts'
import type { ConvForm } from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { toConvNode } from '../graph/forms.ts'
import { freshName, type Graph, type Node, namesRead, Wiring } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, isFloat, type Tensor } from '../graph/tensor.ts'

/** Channel -> the number that it is everywhere. */
interface Constants {
  readonly values: ReadonlyMap<number, number>
  /** Whether channels have other places than where they began; all are zero then. */
  readonly isMoved: boolean
}

/** Operators that make zero of zero; what they make of other numbers is not needed often enough. */
const KEEPS_ZERO = new Set(
  'Relu LeakyRelu HardSwish Gelu Erf Elu Selu Celu Tanh Softsign Mish Abs Neg Sqrt Identity Dropout Cast Floor Ceil Round MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax'.split(
    ' ',
  ),
)
const MOVES_ZERO = new Set('Flatten Reshape Transpose Squeeze Unsqueeze Concat Slice'.split(' '))

/** What an operator makes of a number; undefined where it is not one of those that are known. */
function applied(graph: Graph, node: Node, value: number): number | undefined {
  switch (node.opType) {
    case 'Relu':
      return Math.max(0, value)
    case 'LeakyRelu':
      return value < 0 ? value * floatOf(node, 'alpha', 0.01) : value
    case 'HardSwish':
      return value * Math.min(1, Math.max(0, value / 6 + 0.5))
    case 'Clip': {
      const limit = (at: number, key: string, open: number): number | undefined => {
        const name = node.inputs[at]
        const tensor = name ? graph.initializers.get(name) : undefined
        if (name && (tensor === undefined || !isFloat(tensor))) return undefined
        return tensor === undefined ? floatOf(node, key, open) : floatsOf(tensor, name!)[0]
      }
      const [low, high] = [limit(1, 'min', Number.NEGATIVE_INFINITY), limit(2, 'max', Number.POSITIVE_INFINITY)]
      return low === undefined || high === undefined ? undefined : Math.min(high, Math.max(low, value))
    }
    case 'Sigmoid':
      return 1 / (1 + Math.exp(-value))
    case 'Identity':
    case 'Dropout':
    case 'MaxPool':
    case 'GlobalAveragePool':
    case 'GlobalMaxPool':
      return value
    default:
      return value === 0 && KEEPS_ZERO.has(node.opType) ? 0 : undefined
  }
}

const isPadded = ({ pads }: ConvForm): boolean => pads.some((pad) => pad !== 0)
const allZero = ({ values }: Constants): boolean => [...values.values()].every((value) => value === 0)

/** Sum of one filter's taps over one input channel. */
function sumOfTaps({ weight, kernel, inputs, group }: ConvForm, output: number, input: number): number {
  const taps = kernel[0] * kernel[1]
  const from = (output * (inputs / group) + input) * taps
  return weight.subarray(from, from + taps).reduce((sum, tap) => sum + tap, 0)
}

/** After a node that keeps channels apart; undefined where they would be no constants, or what they are is not known. */
function passed(graph: Graph, shapes: Shapes, node: Node, before: Constants): Constants | undefined {
  const form = toConvNode(graph, node, shapes)?.form
  const map = (of: (value: number, channel: number) => number | undefined): Constants | undefined => {
    const values = [...before.values].map(([channel, value]) => [channel, of(value, channel)] as const)
    return values.some(([, value]) => value === undefined)
      ? undefined
      : { values: new Map(values as [number, number][]), isMoved: before.isMoved }
  }
  if (form !== undefined) {
    const isDepthwise = form.group === form.inputs && form.outputs === form.inputs
    const { bias } = form
    if (!isDepthwise || before.isMoved || bias.kind === 'map' || (isPadded(form) && !allZero(before))) return undefined
    return map((value, channel) => bias.values[channel]! + value * sumOfTaps(form, channel, 0))
  }
  if (MOVES_ZERO.has(node.opType)) return allZero(before) ? { ...before, isMoved: true } : undefined
  // Zero times whatever the other branch has.
  if (node.opType === 'Mul') return allZero(before) ? before : undefined
  return map((value) => applied(graph, node, value))
}

/** What a reader of all channels adds because of them; undefined for any other node. */
function addedBy(graph: Graph, shapes: Shapes, node: Node, { values }: Constants): Float64Array | undefined {
  const isZero = [...values.values()].every((value) => value === 0)
  if ((node.opType === 'Gemm' || node.opType === 'MatMul') && graph.initializers.has(node.inputs[1]!))
    return isZero ? new Float64Array() : undefined
  const form =
    node.opType === 'Conv' && intOf(node, 'group', 1) === 1 ? toConvNode(graph, node, shapes)?.form : undefined
  if (form === undefined || (isPadded(form) && !isZero)) return undefined
  if (isZero) return new Float64Array()
  return Float64Array.from({ length: form.outputs }, (_, o) =>
    [...values].reduce((sum, [channel, value]) => sum + value * sumOfTaps(form, o, channel), 0),
  )
}

/**
 * Put what channels that are zero amount to further on - after a BatchNorm or a depthwise filter they are constants -
 * into the biases of what reads them, so that they can go.
 *
 * @param value Whose channels are zero, all along. @returns Undefined where they are not constants until they are read.
 */
export function settleDeadChannels(
  graph: Graph,
  shapes: Shapes,
  value: string,
  dead: ReadonlySet<number>,
): Graph | undefined {
  const wiring = new Wiring(graph)
  const constants = new Map<string, Constants>([
    [value, { values: new Map([...dead].map((channel) => [channel, 0])), isMoved: false }],
  ])
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  for (const node of graph.nodes) {
    const read = namesRead(node).filter((name) => constants.has(name))
    if (read.length === 0) continue
    const [first] = read as [string]
    if (node.domain !== '' || read.some((name) => wiring.isOutput(name))) return undefined
    if (node.opType !== 'Mul' && node.opType !== 'Concat' && node.inputs[0] !== first && node.opType !== 'Add')
      return undefined
    const added = node.inputs[0] === first ? addedBy(graph, shapes, node, constants.get(first)!) : undefined
    if (added !== undefined) {
      if (added.length === 0) continue
      const form = toConvNode(graph, node, shapes)!.form
      const name = freshName(graph, `${node.name || node.outputs[0]}.settled`, initializers)
      const bias = form.bias.values.map((own, o) => own + added[o]!)
      initializers.set(name, floatTensor(bias, [bias.length], form.type))
      nodes.set(node, [{ ...node, inputs: [node.inputs[0]!, node.inputs[1]!, name] }])
      continue
    }
    const after = passed(graph, shapes, node, constants.get(first)!)
    if (after === undefined || node.outputs.length !== 1 || wiring.isOutput(node.outputs[0]!)) return undefined
    constants.set(node.outputs[0]!, after)
  }
  return nodes.size === 0 ? graph : rewrite(graph, { nodes, initializers })
}
