import { floatOf, intOf, intsOf, stringOf } from './attributes.ts'
import { type ConvForm, type Pair, pointwise } from './conv-form.ts'
import type { Shapes } from './cost.ts'
import type { Graph, Node } from './graph.ts'
import type { TensorProto_DataType } from './onnx_pb.ts'
import { floatsOf, integersOf, isFloat, type Tensor } from './tensor.ts'

/** A node that maps its one variable input by constant weights. */
export interface LinearNode {
  readonly node: Node
  /** The name of the input that varies. */
  readonly input: string
  readonly form: ConvForm
}

/** y = x A + b over the last axis, or where `weight` is absent y = x * scale + b. */
export interface MatrixForm {
  /** [inputs, outputs], in C order. */
  readonly weight: Float64Array
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
  if (tensors.length < 4 || tensors.some((tensor) => tensor === undefined || !isFloat(tensor))) return undefined
  const [gamma, beta, mean, variance] = tensors.map((tensor, i) => floatsOf(tensor!, node.inputs[i + 1]!)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
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

function padsOf(
  node: Node,
  kernel: Pair,
  dilations: Pair,
  strides: Pair,
  size: readonly number[] | undefined,
): ConvForm['pads'] | undefined {
  const mode = stringOf(node, 'auto_pad', 'NOTSET')
  if (mode === 'NOTSET') {
    const pads = intsOf(node, 'pads', NOTHING)
    return pads.length === 4 ? [pads[0]!, pads[1]!, pads[2]!, pads[3]!] : undefined
  }
  if (mode === 'VALID') return NOTHING
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
  const pads = padsOf(node, [ky, kx], dilations, strides, shapes.get(node.inputs[0]!))
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
      return scales && { node, input: node.inputs[0]!, form: pointwise(channels, scales.type, scales) }
    }
    case 'Mul':
    case 'Add': {
      const at = node.inputs.findIndex((name) => graph.initializers.has(name))
      const input = node.inputs[1 - at]
      if (at === -1 || input === undefined || graph.initializers.has(input)) return undefined
      const tensor = constant(node.inputs[at])!
      const values = byChannel(tensor, node.inputs[at]!, channels)
      if (values === undefined || shapes.get(input)?.join() !== dims.join()) return undefined
      const own = node.opType === 'Mul' ? { scale: values } : { shift: values }
      return { node, input, form: pointwise(channels, tensor.type, own) }
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
      const pads = padsOf(node, kernel, dilations, strides, shapes.get(node.inputs[0]!))
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

/** A node, with the constant that is added after it, as a matrix over the last axis; undefined for any other. */
export function toMatrixNode(
  graph: Graph,
  node: Node,
  shapes: Shapes,
  next: (output: string) => Node | undefined,
): MatrixNode | undefined {
  const weight = graph.initializers.get(node.inputs[1] ?? '')
  if (node.domain !== '' || weight === undefined || !isFloat(weight) || weight.dims.length !== 2) return undefined
  const values = floatsOf(weight, node.inputs[1]!)
  if (node.opType === 'Gemm') {
    const bias = node.inputs[2] ? graph.initializers.get(node.inputs[2]) : undefined
    if ((node.inputs[2] && bias === undefined) || intOf(node, 'transA', 0) !== 0) return undefined
    const isTransposed = intOf(node, 'transB', 0) !== 0
    const [a, b] = weight.dims as [number, number]
    const [inputs, outputs] = isTransposed ? [b, a] : [a, b]
    const [alpha, beta] = [floatOf(node, 'alpha', 1), floatOf(node, 'beta', 1)]
    const added = bias === undefined ? new Float64Array(1) : floatsOf(bias, node.inputs[2]!)
    if (added.length !== 1 && added.length !== outputs) return undefined
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
        inputs,
        outputs,
        bias: Float64Array.from({ length: outputs }, (_, o) => beta * added[added.length === 1 ? 0 : o]!),
        type: weight.type,
      },
    }
  }
  if (node.opType !== 'MatMul' || graph.initializers.has(node.inputs[0]!)) return undefined
  const [inputs, outputs] = weight.dims as [number, number]
  const plain = { weight: values, inputs, outputs, type: weight.type }
  const add = next(node.outputs[0]!)
  const shift = add?.opType === 'Add' ? add.inputs.find((name) => graph.initializers.has(name)) : undefined
  const tensor = shift === undefined ? undefined : graph.initializers.get(shift)!
  const isVector =
    tensor !== undefined &&
    isFloat(tensor) &&
    tensor.dims.at(-1) === outputs &&
    tensor.data.length === outputs * (weight.data.length / values.length)
  if (
    add === undefined ||
    shift === undefined ||
    !isVector ||
    shapes.get(add.outputs[0]!)?.join() !== shapes.get(node.outputs[0]!)?.join()
  )
    return {
      nodes: [node],
      input: node.inputs[0]!,
      output: node.outputs[0]!,
      form: { ...plain, bias: new Float64Array(outputs) },
    }
  return {
    nodes: [node, add],
    input: node.inputs[0]!,
    output: add.outputs[0]!,
    form: { ...plain, bias: floatsOf(tensor!, shift) },
  }
}

/** Two matrices, one after another, as one (methods.md 1.2). */
export function chainMatrices(first: MatrixForm, second: MatrixForm): MatrixForm {
  const { inputs, outputs: middle } = first
  const { outputs } = second
  const weight = new Float64Array(inputs * outputs)
  const bias = Float64Array.from(second.bias)
  for (let m = 0; m < middle; m++) {
    for (let o = 0; o < outputs; o++) {
      const factor = second.weight[m * outputs + o]!
      bias[o]! += first.bias[m]! * factor
      if (factor === 0) continue
      for (let i = 0; i < inputs; i++) weight[i * outputs + o]! += first.weight[i * middle + m]! * factor
    }
  }
  return { weight, inputs, outputs, bias, type: first.type }
}
