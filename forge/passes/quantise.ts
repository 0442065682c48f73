import { ModelError } from '@espalier/shared/errors'
import { intAttribute, intOf } from '../graph/attributes.ts'
import { freshName, type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewrite, sweep } from '../graph/rewrite.ts'
import { type InputShape, openRunner, type Values } from '../graph/run.ts'
import { floatsOf, floatTensor, isFloat, type Tensor, TYPE } from '../graph/tensor.ts'

export const QUANTISE_MODES = ['static', 'dynamic', 'fp16'] as const
export type QuantiseMode = (typeof QUANTISE_MODES)[number]

export interface QuantiseReport {
  readonly mode: QuantiseMode
  readonly quantised: readonly string[]
  readonly left: readonly { readonly node: string; readonly reason: string }[]
}

/** What a value ranges over. */
export interface Range {
  readonly low: number
  readonly high: number
}

const WEIGHTED = new Set(['Conv', 'Gemm', 'MatMul'])
/** Operators whose result is quantised with them, because a runtime computes both at once. */
const FUSED = new Set(['Relu', 'Clip'])

interface Weighted {
  readonly node: Node
  readonly weight: Tensor
  /** Axis of the outputs in the weight. */
  readonly axis: number
}

function weightedNodes(graph: Graph): { found: Weighted[]; left: QuantiseReport['left'][number][] } {
  const found: Weighted[] = []
  const left: QuantiseReport['left'][number][] = []
  const readers = new Map<string, number>()
  for (const node of graph.nodes) for (const name of node.inputs) readers.set(name, (readers.get(name) ?? 0) + 1)
  for (const node of graph.nodes) {
    if (!WEIGHTED.has(node.opType) || node.domain !== '') continue
    const weight = graph.initializers.get(node.inputs[1] ?? '')
    const name = node.name || node.outputs[0]!
    if (weight === undefined || !isFloat(weight))
      left.push({ node: name, reason: 'its weight is no constant of floats' })
    else if (readers.get(node.inputs[1]!)! > 1) left.push({ node: name, reason: 'another node reads its weight too' })
    else if (node.opType !== 'Conv' && weight.dims.length !== 2)
      left.push({ node: name, reason: 'its weight is no matrix' })
    else if (node.opType === 'Gemm' && intOf(node, 'transA', 0) !== 0) left.push({ node: name, reason: 'transA' })
    else {
      const isOutputFirst = node.opType === 'Conv' || (node.opType === 'Gemm' && intOf(node, 'transB', 0) !== 0)
      found.push({ node, weight, axis: isOutputFirst ? 0 : 1 })
    }
  }
  return { found, left }
}

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value))
/** Half to even, as QuantizeLinear rounds. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor
}

/** int8 around zero, a scale for each output. @returns The integers, in the weight's own order. */
export function quantiseWeight(
  weight: Tensor,
  axis: number,
  name: string,
): { values: Int8Array; scales: Float32Array } {
  const floats = floatsOf(weight, name)
  const outputs = weight.dims[axis]!
  const inner = weight.dims.slice(axis + 1).reduce((a, b) => a * b, 1)
  const channelOf = (i: number): number => Math.floor(i / inner) % outputs
  const most = new Float64Array(outputs)
  for (let i = 0; i < floats.length; i++) most[channelOf(i)] = Math.max(most[channelOf(i)]!, Math.abs(floats[i]!))
  const scales = Float32Array.from(most, (value) => (value === 0 ? 1 : value / 127))
  const values = Int8Array.from(floats, (value, i) => clamp(roundHalfEven(value / scales[channelOf(i)]!), -127, 127))
  return { values, scales }
}

/** uint8 with a zero point, such that zero itself is exact: padding depends on it. */
export function activationScale({ low, high }: Range): { scale: number; zero: number } {
  const [from, to] = [Math.min(0, low), Math.max(0, high)]
  const scale = Math.fround((to - from) / 255) || 1
  return { scale, zero: clamp(roundHalfEven(-from / scale), 0, 255) }
}

const bytes = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer as ArrayBuffer)
const int8Tensor = (values: Int8Array, dims: readonly number[]): Tensor => ({
  type: TYPE.INT8,
  dims,
  data: bytes(values),
})
const uint8Scalar = (value: number): Tensor => ({ type: TYPE.UINT8, dims: [], data: Uint8Array.of(value) })
const int32Tensor = (values: Int32Array): Tensor => ({ type: TYPE.INT32, dims: [values.length], data: bytes(values) })
const scalar = (value: number): Tensor => floatTensor([value], [])

/** The values that static quantisation needs the ranges of. */
export function valuesToMeasure(graph: Graph): string[] {
  const wiring = new Wiring(graph)
  const wanted = new Set<string>()
  const outputOf = (node: Node): string => {
    const next = wiring.onlyConsumerOf(node.outputs[0]!)
    return next !== undefined && FUSED.has(next.opType) ? next.outputs[0]! : node.outputs[0]!
  }
  for (const { node } of weightedNodes(graph).found) {
    wanted.add(node.inputs[0]!)
    const output = outputOf(node)
    // The model's answer stays as fine as it was; so does what is only added to.
    if (!wiring.isOutput(output)) wanted.add(output)
  }
  for (const node of graph.nodes)
    if (node.opType === 'Add' && node.inputs.every((name) => wanted.has(name)) && !wiring.isOutput(outputOf(node)))
      wanted.add(outputOf(node))
  return [...wanted].filter((name) => !graph.initializers.has(name))
}

/** Smallest and largest of each value over calibration data. */
export async function measureRanges(
  graph: Graph,
  input: InputShape,
  feeds: readonly Values[],
): Promise<Map<string, Range>> {
  const values = valuesToMeasure(graph)
  const runner = await openRunner(graph, 'calibration', { outputs: values.filter((name) => name !== input.name) })
  const ranges = new Map<string, Range>()
  try {
    for (const feed of feeds) {
      const found: Record<string, Values> = { ...(await runner.run({ [input.name]: feed })), [input.name]: feed }
      for (const name of values) {
        let { low, high } = ranges.get(name) ?? { low: 0, high: 0 }
        for (const value of found[name]!.data as Float32Array) {
          if (value < low) low = value
          if (value > high) high = value
        }
        ranges.set(name, { low, high })
      }
    }
  } finally {
    await runner.close()
  }
  return ranges
}

/**
 * int8 weights and uint8 activations, written as QuantizeLinear and DequantizeLinear pairs that any runtime can run and
 * a good one computes in integers.
 *
 * @param ranges Of `valuesToMeasure`. @throws {ModelError} If the opset has no scales by channel, or nothing can be quantised.
 */
export function quantiseStatic(
  graph: Graph,
  ranges: ReadonlyMap<string, Range>,
): { graph: Graph; report: QuantiseReport } {
  if (graph.opset < 13)
    throw new ModelError(
      `Cannot quantise model: found opset ${graph.opset}, expected 13 or newer, where scales may differ by channel`,
    )
  const { found, left } = weightedNodes(graph)
  if (found.length === 0)
    throw new ModelError('Cannot quantise model: it has no convolution or matrix with constant weights')
  const initializers = new Map<string, Tensor>()
  const replaced = new Map<Node, readonly Node[]>()
  const activations = new Map([...ranges].map(([name, range]) => [name, activationScale(range)]))
  for (const { node, weight, axis } of found) {
    const [input, weightName, biasName] = node.inputs as [string, string, string?]
    const { values, scales } = quantiseWeight(weight, axis, weightName)
    const name = node.name || node.outputs[0]!
    const put = (suffix: string, tensor: Tensor): string => {
      const made = freshName(graph, `${name}.${suffix}`, initializers)
      initializers.set(made, tensor)
      return made
    }
    const zeros = int8Tensor(new Int8Array(scales.length), [scales.length])
    const dequantise = (suffix: string, inputs: readonly string[], along?: number): Node => ({
      name: `${name}.${suffix}`,
      opType: 'DequantizeLinear',
      domain: '',
      inputs,
      outputs: [freshName(graph, `${name}.${suffix}`, initializers)],
      attributes: along === undefined ? new Map() : new Map([['axis', intAttribute('axis', along)]]),
    })
    const wide = dequantise(
      'weight.dq',
      [
        put('weight.int8', int8Tensor(values, weight.dims)),
        put('weight.scale', floatTensor(scales, [scales.length])),
        put('weight.zero', zeros),
      ],
      axis,
    )
    const made = [wide]
    const inputs = [input, wide.outputs[0]!]
    const bias = biasName ? graph.initializers.get(biasName) : undefined
    const own = activations.get(input)
    if (bias !== undefined && own !== undefined && bias.dims.length === 1 && bias.dims[0] === scales.length) {
      const biasScales = scales.map((scale) => Math.fround(scale * own.scale))
      const counts = Int32Array.from(floatsOf(bias, biasName!), (value, i) =>
        clamp(roundHalfEven(value / biasScales[i]!), -(2 ** 31), 2 ** 31 - 1),
      )
      const biasNode = dequantise(
        'bias.dq',
        [put('bias.int32', int32Tensor(counts)), put('bias.scale', floatTensor(biasScales, [scales.length]))],
        0,
      )
      made.push(biasNode)
      inputs.push(biasNode.outputs[0]!)
    } else if (biasName) inputs.push(biasName)
    replaced.set(node, [...made, { ...node, inputs }])
  }
  const weighed = rewrite(graph, { nodes: replaced, initializers })
  return {
    graph: insertPairs(weighed, activations),
    report: { mode: 'static', quantised: found.map(({ node }) => node.name || node.outputs[0]!), left },
  }
}

/** Let every reader of a value read it as quantised. */
function insertPairs(graph: Graph, scales: ReadonlyMap<string, { scale: number; zero: number }>): Graph {
  const initializers = new Map(graph.initializers)
  const renamed = new Map<string, string>()
  const pairOf = (value: string): Node[] => {
    const { scale, zero } = scales.get(value)!
    const [scaleName, zeroName] = [freshName(graph, `${value}.scale`), freshName(graph, `${value}.zero`)]
    initializers.set(scaleName, scalar(scale))
    initializers.set(zeroName, uint8Scalar(zero))
    const [narrow, wide] = [freshName(graph, `${value}.uint8`), freshName(graph, `${value}.dq`)]
    renamed.set(value, wide)
    const base = { domain: '', attributes: new Map() }
    return [
      { ...base, name: narrow, opType: 'QuantizeLinear', inputs: [value, scaleName, zeroName], outputs: [narrow] },
      { ...base, name: wide, opType: 'DequantizeLinear', inputs: [narrow, scaleName, zeroName], outputs: [wide] },
    ]
  }
  const nodes: Node[] = graph.inputs.flatMap(({ name }) => (scales.has(name) ? pairOf(name) : []))
  for (const node of graph.nodes) {
    nodes.push({ ...node, inputs: node.inputs.map((name) => renamed.get(name) ?? name) })
    for (const output of node.outputs) if (scales.has(output)) nodes.push(...pairOf(output))
  }
  return sweep({ ...graph, nodes, initializers })
}

/**
 * int8 weights of matrices; activations are quantised as they come. Needs no calibration; convolutions stay as they are,
 * because ONNX has no dynamic one that runtimes compute well.
 *
 * @throws {ModelError} If there is no matrix, or the opset has no dynamic quantisation.
 */
export function quantiseDynamic(graph: Graph): { graph: Graph; report: QuantiseReport } {
  if (graph.opset < 11)
    throw new ModelError(
      `Cannot quantise model: found opset ${graph.opset}, expected 11 or newer, which has DynamicQuantizeLinear`,
    )
  const { found, left } = weightedNodes(graph)
  const matrices = found.filter(({ node }) => node.opType !== 'Conv')
  if (matrices.length === 0)
    throw new ModelError('Cannot quantise model dynamically: it has no matrix with constant weights; use --mode static')
  const initializers = new Map<string, Tensor>()
  const replaced = new Map<Node, readonly Node[]>()
  for (const { node, weight, axis } of matrices) {
    const [input, weightName, biasName] = node.inputs as [string, string, string?]
    const { values, scales } = quantiseWeight(weight, axis, weightName)
    const name = node.name || node.outputs[0]!
    const [alpha, beta] = [node.attributes.get('alpha')?.f ?? 1, node.attributes.get('beta')?.f ?? 1]
    const put = (suffix: string, tensor: Tensor): string => {
      const made = freshName(graph, `${name}.${suffix}`, initializers)
      initializers.set(made, tensor)
      return made
    }
    // MatMulInteger wants [in, out].
    const [rows, columns] = weight.dims as [number, number]
    const turned =
      axis === 1 ? values : Int8Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
    const dims = axis === 1 ? [rows, columns] : [columns, rows]
    let step = 0
    const add = (
      opType: string,
      inputs: readonly string[],
      outputs = 1,
      attributes: Node['attributes'] = new Map(),
    ): Node => {
      const id = step++
      const names = Array.from({ length: outputs }, (_, i) => freshName(graph, `${name}.dynamic${id}.${i}`))
      return { name: names[0]!, opType, domain: '', inputs, outputs: names, attributes }
    }
    const narrow = add('DynamicQuantizeLinear', [input], 3)
    const product = add('MatMulInteger', [
      narrow.outputs[0]!,
      put('weight.int8', int8Tensor(turned, dims)),
      narrow.outputs[2]!,
    ])
    const wide = add('Cast', [product.outputs[0]!], 1, new Map([['to', intAttribute('to', TYPE.FLOAT)]]))
    const scaled = scales.map((scale) => scale * alpha)
    const scale = add('Mul', [narrow.outputs[1]!, put('weight.scale', floatTensor(scaled, [scales.length]))])
    const last = add('Mul', [wide.outputs[0]!, scale.outputs[0]!])
    const nodes = [narrow, product, wide, scale]
    if (biasName) {
      const bias = graph.initializers.get(biasName)!
      const shift = put(
        'bias',
        floatTensor(
          floatsOf(bias, biasName).map((value) => value * beta),
          bias.dims,
        ),
      )
      nodes.push(last, { ...add('Add', [last.outputs[0]!, shift]), outputs: node.outputs })
    } else nodes.push({ ...last, outputs: node.outputs })
    replaced.set(node, nodes)
  }
  return {
    graph: rewrite(graph, { nodes: replaced, initializers }),
    report: {
      mode: 'dynamic',
      quantised: matrices.map(({ node }) => node.name || node.outputs[0]!),
      left: [
        ...left,
        ...found
          .filter(({ node }) => node.opType === 'Conv')
          .map(({ node }) => ({ node: node.name, reason: 'a convolution' })),
      ],
    },
  }
}

/** Weights kept as float16 and widened when the model opens: half the bytes, the same time. */
export function quantiseHalf(graph: Graph): { graph: Graph; report: QuantiseReport } {
  const initializers = new Map(graph.initializers)
  const casts: Node[] = []
  const quantised: string[] = []
  for (const [name, tensor] of graph.initializers) {
    // Few numbers save nothing, and shapes of one number are epsilons and such.
    if (tensor.type !== TYPE.FLOAT || tensor.data.length < 256) continue
    const narrow = freshName(graph, `${name}.fp16`)
    initializers.delete(name)
    initializers.set(narrow, floatTensor(floatsOf(tensor, name), tensor.dims, TYPE.FLOAT16))
    casts.push({
      name: `${name}.cast`,
      opType: 'Cast',
      domain: '',
      inputs: [narrow],
      outputs: [name],
      attributes: new Map([['to', intAttribute('to', TYPE.FLOAT)]]),
    })
    quantised.push(name)
  }
  if (quantised.length === 0)
    throw new ModelError('Cannot store weights as float16: it has no float32 weight of 64 numbers or more')
  return {
    graph: { ...graph, nodes: [...casts, ...graph.nodes], initializers },
    report: { mode: 'fp16', quantised, left: [] },
  }
}
