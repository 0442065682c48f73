import { floatOf, intOf, intsOf, stringOf } from './attributes.ts'
import { type ConvForm, type Pair, pointwise } from './conv-form.ts'
import type { Shapes } from './cost.ts'
import { type Graph, isSizeOpen, type Node } from './graph.ts'
import type { TensorProto_DataType } from './onnx_pb.ts'
import { floatsOf, integersOf, isFloat, type Tensor } from './tensor.ts'

/** A node that maps its one variable input by constant weights. */
export interface LinearNode {
  readonly node: Node
  /** The name of the input that varies. */
  readonly input: string
  readonly form: ConvForm
}

/** y = x A + b over the last axis. */
export interface MatrixForm {
  /** [inputs, outputs], in C order; where `isDiagonal` the diagonal alone. */
  readonly weight: Float64Array
  readonly isDiagonal: boolean
  /** y = x^T A + b, x being [inputs, rows]. */
  readonly isTransposed: boolean
  readonly inputs: number
  readonly outputs: number
  readonly bias: Float64Array
  readonly type: TensorProto_DataType
}

export interface MatrixNode {
  readonly nodes: readonly Node[]
  readonly input: string
  readonly output: string
  readonly form: MatrixForm
}

const NOTHING: [number, number, number, number] = [0, 0, 0, 0]

/** Scales of BatchNorm at inference: y = scale * x + shift (methods.md 1.3). */
export function batchNormScales(
  graph: Graph,
  node: Node,
): { scale: Float64Array; shift: Float64Array; type: TensorProto_DataType } | undefined {
  const tensors = node.inputs.slice(1, 5).map((name) => graph.initializers.get(name))
  if (node.opType !== 'BatchNormalization' || intOf(node, 'training_mode', 0) !== 0) return undefined
  // Before opset 9 statistics could be of each place.
  if (intOf(node, 'spatial', 1) === 0) return undefined
  if (tensors.length < 4 || tensors.some((tensor) => tensor === undefined || !isFloat(tensor))) return undefined
  const [gamma, beta, mean, variance] = tensors.map((tensor, i) => floatsOf(tensor!, node.inputs[i + 1]!)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  if ([beta, mean, variance].some(({ length }) => length !== gamma.length)) return undefined
  const epsilon = floatOf(node, 'epsilon', 1e-5)
  const scale = gamma.map((value, i) => value / Math.sqrt(variance[i]! + epsilon))
  return { scale, shift: beta.map((value, i) => value - scale[i]! * mean[i]!), type: tensors[0]!.type }
}

/** A constant that has one value a channel of [N, C, H, W], or one for all. */
function byChannel(tensor: Tensor, name: string, channels: number): Float64Array | undefined {
  if (!isFloat(tensor)) return undefined
  const values = floatsOf(tensor, name)
  if (values.length === 1) return new Float64Array(channels).fill(values[0]!)
  const aligned = [...Array<number>(Math.max(0, 4 - tensor.dims.length)).fill(1), ...tensor.dims]
  return values.length === channels && aligned.length === 4 && aligned[1] === channels ? values : undefined
}

/** The constant operand of a node of two and the one that varies, which has the shape of the output. */
interface Operands {
  readonly name: string
  readonly tensor: Tensor
  readonly input: string
  readonly isFirst: boolean
}

function constantOf(graph: Graph, node: Node, shapes: Shapes): Operands | undefined {
  const at = node.inputs.findIndex((name) => graph.initializers.has(name))
  const input = node.inputs[1 - at]
  if (at === -1 || input === undefined || graph.initializers.has(input)) return undefined
  if (shapes.get(input)?.join() !== shapes.get(node.outputs[0]!)?.join()) return undefined
  const name = node.inputs[at]!
  return { name, tensor: graph.initializers.get(name)!, input, isFirst: at === 0 }
}

/** What Mul, Div, Add or Sub of a constant does, as a scale and a shift; undefined for constant / x. */
function scalesOf(
  { opType }: Node,
  { isFirst }: Operands,
  values: Float64Array,
): { scale?: Float64Array; shift?: Float64Array } | undefined {
  switch (opType) {
    case 'Mul':
      return { scale: values }
    case 'Div':
      return isFirst || values.includes(0) ? undefined : { scale: values.map((value) => 1 / value) }
    case 'Add':
      return { shift: values }
    case 'Sub':
      return isFirst
        ? { scale: new Float64Array(values.length).fill(-1), shift: values }
        : { shift: values.map((value) => -value) }
    default:
      return undefined
  }
}

function padsOf(
  node: Node,
  kernel: Pair,
  dilations: Pair,
  strides: Pair,
  size: readonly number[] | undefined,
  isOpen: boolean,
): ConvForm['pads'] | undefined {
  const mode = stringOf(node, 'auto_pad', 'NOTSET')
  if (mode === 'NOTSET') {
    const pads = intsOf(node, 'pads', NOTHING)
    return pads.length === 4 ? [pads[0]!, pads[1]!, pads[2]!, pads[3]!] : undefined
  }
  if (mode === 'VALID') return NOTHING
  // How much of it there is depends on the size, except where each place gives one.
  if (isOpen && strides.some((stride) => stride !== 1)) return undefined
  if (size?.length !== 4) return undefined
  const total = ([0, 1] as const).map((axis) => {
    const length = size[2 + axis]!
    const outputs = Math.ceil(length / strides[axis])
    return Math.max(0, (outputs - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - length)
  }) as [number, number]
  const small = total.map((each) => Math.floor(each / 2)) as [number, number]
  const large = total.map((each, i) => each - small[i]!) as [number, number]
  return mode === 'SAME_UPPER' ? [...small, ...large] : [...large, ...small]
}

const pairOf = (node: Node, key: string): Pair | undefined => {
  const values = intsOf(node, key, [1, 1])
  return values.length === 2 ? [values[0]!, values[1]!] : undefined
}

function convOf(graph: Graph, node: Node, shapes: Shapes): LinearNode | undefined {
  const weight = graph.initializers.get(node.inputs[1] ?? '')
  const bias = node.inputs[2] ? graph.initializers.get(node.inputs[2]) : undefined
  if (weight === undefined || !isFloat(weight) || weight.dims.length !== 4 || (node.inputs[2] && bias === undefined))
    return undefined
  const [outputs, perGroup, ky, kx] = weight.dims as [number, number, number, number]
  const group = intOf(node, 'group', 1)
  const [strides, dilations] = [pairOf(node, 'strides'), pairOf(node, 'dilations')]
  if (strides === undefined || dilations === undefined) return undefined
  const pads = padsOf(node, [ky, kx], dilations, strides, shapes.get(node.inputs[0]!), isSizeOpen(graph))
  if (pads === undefined) return undefined
  return {
    node,
    input: node.inputs[0]!,
    form: {
      weight: floatsOf(weight, node.inputs[1]!),
      outputs,
      inputs: perGroup * group,
      group,
      kernel: [ky, kx],
      strides,
      dilations,
      pads,
      bias: {
        kind: 'vector',
        values: bias === undefined ? new Float64Array(outputs) : floatsOf(bias, node.inputs[2]!),
      },
      type: weight.type,
    },
  }
}

/**
 * A node as a convolution with constant weights: Conv, BatchNorm, Mul and Add of constants by channel, zero Pad, and
 * average pooling that counts its padding.
 *
 * @param shapes Of every value. @returns Undefined for any other node, and where the value is not [N, C, H, W].
 */
export function toConvNode(graph: Graph, node: Node, shapes: Shapes): LinearNode | undefined {
  if (node.domain !== '' || node.outputs.length !== 1) return undefined
  if (node.opType === 'Conv') return convOf(graph, node, shapes)
  const constant = (name: string | undefined): Tensor | undefined =>
    name === undefined ? undefined : graph.initializers.get(name)
  const dims = shapes.get(node.outputs[0]!)
  if (dims?.length !== 4) return undefined
  const channels = dims[1]!
  switch (node.opType) {
    case 'BatchNormalization': {
      const scales = batchNormScales(graph, node)
      return scales?.scale.length === channels
        ? { node, input: node.inputs[0]!, form: pointwise(channels, scales.type, scales) }
        : undefined
    }
    case 'Mul':
    case 'Div':
    case 'Add':
    case 'Sub': {
      const found = constantOf(graph, node, shapes)
      const values = found && byChannel(found.tensor, found.name, channels)
      const scales = values && scalesOf(node, found, values)
      return scales && { node, input: found.input, form: pointwise(channels, found.tensor.type, scales) }
    }
    case 'Pad': {
      const named = node.inputs.length > 1
      const listed = named ? constant(node.inputs[1]) : undefined
      if (named && listed === undefined) return undefined
      const pads = listed === undefined ? intsOf(node, 'pads', []) : integersOf(listed, node.inputs[1]!)
      const value = node.inputs[2] ? constant(node.inputs[2]) : undefined
      const isZero = node.inputs[2]
        ? value !== undefined && isFloat(value) && floatsOf(value, node.inputs[2])[0] === 0
        : floatOf(node, 'value', 0) === 0
      const isSpatial = pads.length === 8 && [0, 1, 4, 5].every((i) => pads[i] === 0) && pads.every((pad) => pad >= 0)
      if (stringOf(node, 'mode', 'constant') !== 'constant' || !isZero || !isSpatial || node.inputs[3]) return undefined
      const form = pointwise(channels, 1, { pads: [pads[2]!, pads[3]!, pads[6]!, pads[7]!] })
      return { node, input: node.inputs[0]!, form }
    }
    case 'AveragePool': {
      const kernel = pairOf(node, 'kernel_shape')
      const [strides, dilations] = [pairOf(node, 'strides'), pairOf(node, 'dilations')]
      if (kernel === undefined || strides === undefined || dilations === undefined) return undefined
      const pads = padsOf(node, kernel, dilations, strides, shapes.get(node.inputs[0]!), isSizeOpen(graph))
      const counts = intOf(node, 'count_include_pad', 0) === 1 || pads?.every((pad) => pad === 0)
      if (pads === undefined || !counts || intOf(node, 'ceil_mode', 0) !== 0) return undefined
      const taps = kernel[0] * kernel[1]
      const base = pointwise(channels, 1)
      const weight = new Float64Array(channels * taps).fill(1 / taps)
      return { node, input: node.inputs[0]!, form: { ...base, weight, kernel, strides, dilations, pads } }
    }
    default:
      return undefined
  }
}

/** A constant that has one value for each of the last axis, or one for all. */
function byLast(tensor: Tensor, name: string, count: number): Float64Array | undefined {
  if (!isFloat(tensor)) return undefined
  const values = floatsOf(tensor, name)
  if (values.length === 1) return new Float64Array(count).fill(values[0]!)
  return values.length === count && tensor.dims.at(-1) === count ? values : undefined
}

function gemmOf(graph: Graph, node: Node, weight: Tensor): MatrixNode | undefined {
  const bias = node.inputs[2] ? graph.initializers.get(node.inputs[2]) : undefined
  if (node.inputs[2] && bias === undefined) return undefined
  const isTransposed = intOf(node, 'transB', 0) !== 0
  const [a, b] = weight.dims as [number, number]
  const [inputs, outputs] = isTransposed ? [b, a] : [a, b]
  const [alpha, beta] = [floatOf(node, 'alpha', 1), floatOf(node, 'beta', 1)]
  const added = bias === undefined ? new Float64Array(outputs) : byLast(bias, node.inputs[2]!, outputs)
  if (added === undefined) return undefined
  const values = floatsOf(weight, node.inputs[1]!)
  const matrix = new Float64Array(values.length)
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < outputs; o++)
      matrix[i * outputs + o] = alpha * values[isTransposed ? o * inputs + i : i * outputs + o]!
  return {
    nodes: [node],
    input: node.inputs[0]!,
    output: node.outputs[0]!,
    form: {
      weight: matrix,
      isDiagonal: false,
      isTransposed: intOf(node, 'transA', 0) !== 0,
      inputs,
      outputs,
      bias: added.map((value) => beta * value),
      type: weight.type,
    },
  }
}

/** MatMul by a constant, and the constant that is added next where there is one. */
function matMulOf(
  graph: Graph,
  node: Node,
  weight: Tensor,
  shapes: Shapes,
  next: (output: string) => Node | undefined,
): MatrixNode {
  const [inputs, outputs] = weight.dims as [number, number]
  const form = {
    weight: floatsOf(weight, node.inputs[1]!),
    isDiagonal: false,
    isTransposed: false,
    inputs,
    outputs,
    type: weight.type,
  }
  const add = next(node.outputs[0]!)
  const found = add?.opType === 'Add' && add.domain === '' ? constantOf(graph, add, shapes) : undefined
  const bias = found && byLast(found.tensor, found.name, outputs)
  const input = node.inputs[0]!
  return add === undefined || bias === undefined
    ? { nodes: [node], input, output: node.outputs[0]!, form: { ...form, bias: new Float64Array(outputs) } }
    : { nodes: [node, add], input, output: add.outputs[0]!, form: { ...form, bias } }
}

/** A scale and a shift over the last axis: BatchNorm of [N, C], or a constant that is multiplied or added. */
function diagonalOf(graph: Graph, node: Node, shapes: Shapes): MatrixNode | undefined {
  const dims = shapes.get(node.outputs[0]!)
  if (dims === undefined || dims.length < 2 || node.outputs.length !== 1) return undefined
  const count = dims.at(-1)!
  const make = (
    input: string,
    type: TensorProto_DataType,
    { scale, shift }: { scale?: Float64Array; shift?: Float64Array },
  ): MatrixNode => ({
    nodes: [node],
    input,
    output: node.outputs[0]!,
    form: {
      weight: scale ?? new Float64Array(count).fill(1),
      isDiagonal: true,
      isTransposed: false,
      inputs: count,
      outputs: count,
      bias: shift ?? new Float64Array(count),
      type,
    },
  })
  const norm = dims.length === 2 ? batchNormScales(graph, node) : undefined
  if (norm?.scale.length === count) return make(node.inputs[0]!, norm.type, norm)
  if (!['Mul', 'Div', 'Add', 'Sub'].includes(node.opType)) return undefined
  const found = constantOf(graph, node, shapes)
  const values = found && byLast(found.tensor, found.name, count)
  const scales = values && scalesOf(node, found, values)
  return scales && make(found.input, found.tensor.type, scales)
}

/**
 * A node, with the constant that is added after it, as a matrix over the last axis; undefined for any other.
 *
 * @param shapes Of every value. @param next The one reader of a value, if there is one.
 */
export function toMatrixNode(
  graph: Graph,
  node: Node,
  shapes: Shapes,
  next: (output: string) => Node | undefined,
): MatrixNode | undefined {
  if (node.domain !== '') return undefined
  const weight = graph.initializers.get(node.inputs[1] ?? '')
  const isMatrix = weight !== undefined && isFloat(weight) && weight.dims.length === 2
  const isVarying = !graph.initializers.has(node.inputs[0] ?? '')
  if (node.opType === 'Gemm') return isMatrix && isVarying ? gemmOf(graph, node, weight) : undefined
  if (node.opType === 'MatMul') return isMatrix && isVarying ? matMulOf(graph, node, weight, shapes, next) : undefined
  return diagonalOf(graph, node, shapes)
}

/** Two matrices, one after another, as one (methods.md 1.2). The second reads what the first makes, not its transpose. */
export function chainMatrices(first: MatrixForm, second: MatrixForm): MatrixForm {
  const { inputs, outputs: middle, isTransposed, type } = first
  const { outputs } = second
  const bias = Float64Array.from(second.bias)
  if (second.isDiagonal) {
    for (let o = 0; o < outputs; o++) bias[o]! += first.bias[o]! * second.weight[o]!
    const weight = first.weight.map((value, i) => value * second.weight[i % outputs]!)
    return { weight, isDiagonal: first.isDiagonal, isTransposed, inputs, outputs, bias, type }
  }
  const weight = new Float64Array(inputs * outputs)
  for (let m = 0; m < middle; m++) {
    for (let o = 0; o < outputs; o++) {
      const factor = second.weight[m * outputs + o]!
      bias[o]! += first.bias[m]! * factor
      if (factor === 0) continue
      if (first.isDiagonal) weight[m * outputs + o] = first.weight[m]! * factor
      else for (let i = 0; i < inputs; i++) weight[i * outputs + o]! += first.weight[i * middle + m]! * factor
    }
  }
  return { weight, isDiagonal: false, isTransposed, inputs, outputs, bias, type }
}
