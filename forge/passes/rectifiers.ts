import { describeNode, floatOf } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import { batchNormScales } from '../graph/forms.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { type InputShape, openRunner, type Values } from '../graph/run.ts'
import { floatsOf, isFloat } from '../graph/tensor.ts'

/** A non-linearity that could be the identity. GELU may be five nodes. */
export interface Rectifier {
  readonly name: string
  readonly kind: 'Relu' | 'Clip' | 'LeakyRelu' | 'Gelu' | 'HardSwish'
  /** The value that goes in, and the one that comes out. */
  readonly input: string
  readonly output: string
  /** What makes the input. */
  readonly producer: Node | undefined
  /** Axis of the channels: 1 of [N, C, ...], the last of [N, T, C]. */
  readonly channelAxis: number
  readonly channels: number
  /** Of the side below zero: what a channel that is off is multiplied by. */
  readonly slope: number
}

function lowOf(graph: Graph, node: Node): number | undefined {
  if (node.attributes.has('min')) return node.attributes.get('min')!.f
  const tensor = graph.initializers.get(node.inputs[1] ?? '')
  return tensor !== undefined && isFloat(tensor) ? floatsOf(tensor, node.inputs[1]!)[0] : undefined
}

/** The one number of a constant; undefined for any other value. */
function scalarOf(graph: Graph, name: string | undefined): number | undefined {
  const tensor = graph.initializers.get(name ?? '')
  const values = tensor !== undefined && isFloat(tensor) ? floatsOf(tensor, name!) : undefined
  return values?.length === 1 ? values[0] : undefined
}

/** What a node multiplies or divides by, and the value that it does it to; undefined where neither is a constant. */
function factorOf(graph: Graph, node: Node | undefined): { input: string; factor: number } | undefined {
  if (node?.opType !== 'Mul' && node?.opType !== 'Div') return undefined
  const [a, b] = node.inputs as [string, string]
  const right = scalarOf(graph, b)
  if (right !== undefined) return { input: a, factor: node.opType === 'Mul' ? right : 1 / right }
  const left = node.opType === 'Mul' ? scalarOf(graph, a) : undefined
  return left === undefined ? undefined : { input: b, factor: left }
}

/** 0.5 x (1 + Erf(x / sqrt 2)), in whichever order exporters multiply it before opset 20. */
function geluFrom(graph: Graph, wiring: Wiring, erf: Node): { input: string; output: string } | undefined {
  const scaled = factorOf(graph, wiring.producerOf(erf.inputs[0]!))
  const plus = wiring.onlyConsumerOf(erf.outputs[0]!)
  if (scaled === undefined || Math.abs(scaled.factor - Math.SQRT1_2) > 1e-3 || plus?.opType !== 'Add') return undefined
  if (!plus.inputs.some((name) => scalarOf(graph, name) === 1)) return undefined
  const { input } = scaled
  let at: Node = plus
  let [halves, inputs] = [0, 0]
  // Two factors follow, x and 0.5, or one that is both.
  for (let i = 0; i < 2 && (halves === 0 || inputs === 0); i++) {
    const next = wiring.onlyConsumerOf(at.outputs[0]!)
    if (next?.opType !== 'Mul') return undefined
    const other = next.inputs[next.inputs[0] === at.outputs[0] ? 1 : 0]!
    const half = factorOf(graph, wiring.producerOf(other))
    if (other === input) inputs++
    else if (scalarOf(graph, other) === 0.5) halves++
    else if (half?.factor === 0.5 && half.input === input) {
      inputs++
      halves++
    } else return undefined
    at = next
  }
  return halves === 1 && inputs === 1 ? { input, output: at.outputs[0]! } : undefined
}

/** All non-linearities of a graph, in order. @param shapes Of every value. */
export function findRectifiers(graph: Graph, shapes: Shapes): Rectifier[] {
  const wiring = new Wiring(graph)
  return graph.nodes.flatMap((node): Rectifier[] => {
    let found: { input: string; output: string; kind: Rectifier['kind'] } | undefined
    const own = { input: node.inputs[0]!, output: node.outputs[0]! }
    if (node.domain !== '' && node.opType !== 'Gelu') return []
    if (node.opType === 'Relu' || node.opType === 'LeakyRelu' || node.opType === 'Gelu' || node.opType === 'HardSwish')
      found = { ...own, kind: node.opType }
    else if (node.opType === 'Clip' && lowOf(graph, node) === 0) found = { ...own, kind: 'Clip' }
    else if (node.opType === 'Erf') {
      const gelu = geluFrom(graph, wiring, node)
      if (gelu !== undefined) found = { ...gelu, kind: 'Gelu' }
    }
    if (found === undefined || graph.initializers.has(found.input)) return []
    const dims = shapes.get(found.input)
    if (dims === undefined || dims.length < 2) return []
    const channelAxis = dims.length === 3 ? 2 : 1
    const producer = wiring.producerOf(found.input)
    const slope = found.kind === 'LeakyRelu' ? floatOf(node, 'alpha', 0.01) : 0
    return [
      { ...found, name: node.name || node.outputs[0]!, producer, channelAxis, channels: dims[channelAxis]!, slope },
    ]
  })
}

/** What goes into a rectifier, channel by channel, over calibration data. */
export interface ChannelStatistics {
  readonly mean: Float64Array
  readonly deviation: Float64Array
  /** Share of values that are at least zero. */
  readonly positive: Float64Array
}

/** Statistics of every rectifier's input. @returns By the rectifier's name. */
export async function measureChannels(
  graph: Graph,
  rectifiers: readonly Rectifier[],
  input: InputShape,
  feeds: readonly Values[],
): Promise<Map<string, ChannelStatistics>> {
  const runner = await openRunner(graph, 'calibration', { outputs: [...new Set(rectifiers.map((r) => r.input))] })
  const sums = new Map(
    rectifiers.map(({ name, channels }) => [
      name,
      {
        n: 0,
        sum: new Float64Array(channels),
        squares: new Float64Array(channels),
        positive: new Float64Array(channels),
      },
    ]),
  )
  try {
    for (const feed of feeds) {
      const found = await runner.run({ [input.name]: feed })
      for (const { name, input: value, channelAxis, channels } of rectifiers) {
        const { dims, data } = found[value]!
        const inner = dims.slice(channelAxis + 1).reduce((a, b) => a * b, 1)
        const own = sums.get(name)!
        own.n += data.length / channels
        for (let i = 0; i < data.length; i++) {
          const c = Math.floor(i / inner) % channels
          const x = Number(data[i])
          own.sum[c]! += x
          own.squares[c]! += x * x
          if (x >= 0) own.positive[c]!++
        }
      }
    }
  } finally {
    await runner.close()
  }
  return new Map(
    [...sums].map(([name, { n, sum, squares, positive }]) => {
      const mean = sum.map((each) => each / n)
      const deviation = squares.map((each, c) => Math.sqrt(Math.max(0, each / n - mean[c]! ** 2)))
      return [name, { mean, deviation, positive: positive.map((each) => each / n) }]
    }),
  )
}

/**
 * The same from BatchNorm's own parameters, without data: what leaves it is modelled as N(beta, gamma^2) (TLC, methods.md 4.1).
 *
 * @returns Undefined where the rectifier's input is not made by BatchNorm.
 */
export function normStatistics(
  graph: Graph,
  { producer }: Rectifier,
): { mean: Float64Array; deviation: Float64Array } | undefined {
  if (producer?.opType !== 'BatchNormalization' || batchNormScales(graph, producer) === undefined) return undefined
  const read = (at: number): Float64Array =>
    floatsOf(graph.initializers.get(producer.inputs[at]!)!, producer.inputs[at]!)
  return { mean: read(2), deviation: read(1).map(Math.abs) }
}

/** Why the data-free score does not apply, in words. */
export const whyNoNorm = ({ producer }: Rectifier): string =>
  `its input is made by ${producer === undefined ? 'the model input' : describeNode(producer)}, not by BatchNorm: calibration data would tell`
