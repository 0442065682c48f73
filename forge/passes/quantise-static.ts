import { ModelError } from '@espalier/shared/errors'
import { intAttribute } from '../graph/attributes.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { namerOf } from '../graph/namer.ts'
import { rewrite, sweep } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, type Tensor, TYPE } from '../graph/tensor.ts'
import {
  activationScale,
  leastWeightScales,
  quantiseBias,
  quantiseWeight,
  type Range,
  type Scale,
  WEIGHT_LIMITS,
} from './quantise-scales.ts'
import {
  checkNotQuantised,
  findWeighted,
  nameOf,
  type QuantiseOptions,
  type QuantiseReport,
  type Weighted,
} from './quantise-weights.ts'

const bytesOf = (array: Int8Array | Int32Array): Uint8Array => new Uint8Array(array.slice().buffer)
const int8Tensor = (values: Int8Array, dims: readonly number[]): Tensor => ({
  type: TYPE.INT8,
  dims,
  data: bytesOf(values),
})
const vector = (values: Float32Array): Tensor => floatTensor(values, [values.length])

type Name = (wanted: string) => string

interface Made {
  readonly nodes: readonly Node[]
  readonly initializers: ReadonlyMap<string, Tensor>
}

/** The node behind DequantizeLinear of its weight and, where the input's scale is known, of its bias. */
function quantiseNode(
  { node, weight, weightName, bias, biasName, axis }: Weighted,
  input: Scale | undefined,
  limit: number,
  name: Name,
): Made {
  const own = nameOf(node)
  const initializers = new Map<string, Tensor>()
  const put = (suffix: string, tensor: Tensor): string => {
    const made = name(`${own}.${suffix}`)
    initializers.set(made, tensor)
    return made
  }
  const dequantise = (suffix: string, inputs: readonly string[], along: number): Node => {
    const made = name(`${own}.${suffix}`)
    const attributes = new Map([['axis', intAttribute('axis', along)]])
    return { name: made, opType: 'DequantizeLinear', domain: '', inputs, outputs: [made], attributes }
  }
  const outputs = weight.dims[axis]!
  const isVector = bias?.dims.length === 1 && bias.dims[0] === outputs
  const shifts = isVector && input !== undefined ? floatsOf(bias, biasName) : undefined
  const { values, scales } = quantiseWeight(weight, axis, weightName, {
    limit,
    ...(shifts && { least: leastWeightScales(shifts, input!.scale) }),
  })
  const wide = dequantise(
    'weight.dq',
    [
      put('weight.int8', int8Tensor(values, weight.dims)),
      put('weight.scale', vector(scales)),
      put('weight.zero', int8Tensor(new Int8Array(outputs), [outputs])),
    ],
    axis,
  )
  if (shifts === undefined)
    return {
      nodes: [wide, { ...node, inputs: [node.inputs[0]!, wide.outputs[0]!, ...node.inputs.slice(2)] }],
      initializers,
    }
  const shift = quantiseBias(shifts, scales, input!.scale)
  const counts: Tensor = { type: TYPE.INT32, dims: [outputs], data: bytesOf(shift.values) }
  const added = dequantise('bias.dq', [put('bias.int32', counts), put('bias.scale', vector(shift.scales))], 0)
  const inputs = [node.inputs[0]!, wide.outputs[0]!, added.outputs[0]!]
  return { nodes: [wide, added, { ...node, inputs }], initializers }
}

/** Let every reader of a value read it as quantised; the model's own outputs stay as they are. */
function insertPairs(graph: Graph, scales: ReadonlyMap<string, Scale>, name: Name): Graph {
  const initializers = new Map(graph.initializers)
  const renamed = new Map<string, string>()
  const put = (wanted: string, tensor: Tensor): string => {
    const made = name(wanted)
    initializers.set(made, tensor)
    return made
  }
  const pairOf = (value: string): Node[] => {
    const { scale, zero } = scales.get(value)!
    const constants = [
      put(`${value}.scale`, floatTensor([scale], [])),
      put(`${value}.zero`, { type: TYPE.UINT8, dims: [], data: Uint8Array.of(zero) }),
    ]
    const [narrow, wide] = [name(`${value}.uint8`), name(`${value}.dq`)]
    renamed.set(value, wide)
    const base = { domain: '', attributes: new Map() }
    return [
      { ...base, name: narrow, opType: 'QuantizeLinear', inputs: [value, ...constants], outputs: [narrow] },
      { ...base, name: wide, opType: 'DequantizeLinear', inputs: [narrow, ...constants], outputs: [wide] },
    ]
  }
  const nodes: Node[] = graph.inputs.flatMap((input) => (scales.has(input.name) ? pairOf(input.name) : []))
  for (const node of graph.nodes) {
    nodes.push({ ...node, inputs: node.inputs.map((input) => renamed.get(input) ?? input) })
    for (const output of node.outputs) if (scales.has(output)) nodes.push(...pairOf(output))
  }
  return sweep({ ...graph, nodes, initializers })
}

/** Operators that only move numbers, or choose among them: their result has their input's scale. */
const MOVES = new Set(['Reshape', 'Flatten', 'Transpose', 'Squeeze', 'Unsqueeze', 'MaxPool', 'Identity'])

function activationScales(graph: Graph, ranges: ReadonlyMap<string, Range>): Map<string, Scale> {
  const scales = new Map([...ranges].map(([value, range]) => [value, activationScale(range)]))
  for (const { opType, inputs, outputs } of graph.nodes) {
    const before = scales.get(inputs[0] ?? '')
    if (MOVES.has(opType) && before !== undefined && scales.has(outputs[0]!)) scales.set(outputs[0]!, before)
  }
  return scales
}

/**
 * int8 weights and uint8 activations, written as QuantizeLinear and DequantizeLinear pairs that any runtime can run and
 * a good one computes in integers. Weights are symmetric with a scale for each output; biases are int32.
 *
 * @param ranges Of `valuesToMeasure` with the same options.
 * @throws {ModelError} If the opset has no scales by channel, nothing can be quantised, or it was before.
 */
export function quantiseStatic(
  graph: Graph,
  ranges: ReadonlyMap<string, Range>,
  options: QuantiseOptions = {},
): { graph: Graph; report: QuantiseReport } {
  checkNotQuantised(graph)
  if (graph.opset < 13)
    throw new ModelError(
      `Cannot quantise model: found opset ${graph.opset}, expected 13 or newer, where scales may differ by channel`,
    )
  const { found, left } = findWeighted(graph, options)
  if (found.length === 0)
    throw new ModelError(
      `Cannot quantise model: it has no convolution or matrix whose weights can be integers; ${left.map(({ node, reason }) => `"${node}": ${reason}`).join('; ') || 'found none'}`,
    )
  const scales = activationScales(graph, ranges)
  const name = namerOf(graph)
  const limit = options.isReduced ? WEIGHT_LIMITS.reduced : WEIGHT_LIMITS.full
  const made = new Map(
    found.map((weighted) => [weighted.node, quantiseNode(weighted, scales.get(weighted.node.inputs[0]!), limit, name)]),
  )
  const weighed = rewrite(graph, {
    nodes: new Map([...made].map(([node, { nodes }]) => [node, nodes])),
    initializers: new Map([...made.values()].flatMap(({ initializers }) => [...initializers])),
  })
  return {
    graph: insertPairs(weighed, scales, name),
    report: { mode: 'static', quantised: found.map(({ node }) => nameOf(node)), left },
  }
}
