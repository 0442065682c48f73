import { ModelError } from '@espalier/shared/errors'
import { Channels, removeChannels } from '../graph/channels.ts'
import type { Shapes } from '../graph/cost.ts'
import { toConvNode, toMatrixNode } from '../graph/forms.ts'
import { freshName, type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewire, rewrite } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, isFloat, type Tensor, TYPE } from '../graph/tensor.ts'
import { settleDeadChannels } from './dead-channels.ts'
import { hoistConstants } from './fold.ts'
import { type ChannelStatistics, findRectifiers, normStatistics, type Rectifier, whyNoNorm } from './rectifiers.ts'

export const COLLAPSE_METHODS = ['tlc', 'easier'] as const
export type CollapseMethod = (typeof COLLAPSE_METHODS)[number]

/** A non-linearity and how little it would be missed: the lowest score goes first. */
export interface RankedRectifier {
  readonly name: string
  readonly kind: Rectifier['kind']
  readonly channels: number
  /** TLC: expected error that reaches the next layer; EASIER: mean entropy in bits. Null where it cannot be had. */
  readonly score: number | null
  /** Channels that are nearly always on become the identity, the others zero (TLC); EASIER makes all the identity. */
  readonly on: number
  readonly off: number
  readonly reason: string | undefined
}

/** Density and distribution of the standard normal; the latter by Abramowitz and Stegun 7.1.26, within 1.5e-7. */
const density = (t: number): number => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI)
export function normalBelow(t: number): number {
  const x = Math.abs(t) / Math.SQRT2
  const k = 1 / (1 + 0.3275911 * x)
  const polynomial = k * (0.254829592 + k * (-0.284496736 + k * (1.421413741 + k * (-1.453152027 + k * 1.061405429))))
  const erf = 1 - polynomial * Math.exp(-x * x)
  return t >= 0 ? (1 + erf) / 2 : (1 - erf) / 2
}

/** Probability of being on the minority side of zero for N(mean, deviation^2) (TLC, E_i of methods.md 4.1). */
export function minorityShare(mean: number, deviation: number): number {
  return deviation === 0 ? 0 : normalBelow(-Math.abs(mean) / deviation)
}

/** Expected |z| on the minority side: the error of taking the majority's line for all (methods.md 4.3). */
export function minorityError(mean: number, deviation: number): number {
  if (deviation === 0) return 0
  const t = Math.abs(mean) / deviation
  return deviation * (density(t) - t * normalBelow(-t))
}

/** Binary entropy in bits (EASIER, methods.md 3.1). */
export function entropyBits(p: number): number {
  const term = (q: number): number => (q <= 0 ? 0 : -q * Math.log2(q))
  return term(p) + term(1 - p)
}

/**
 * How much each channel of a value weighs in what reads it: the L2 norm of its column in convolutions and matrices, one
 * for any other reader, which may do anything with it.
 */
function readerNorms(graph: Graph, shapes: Shapes, value: string, channels: number): Float64Array {
  const wiring = new Wiring(graph)
  const squares = new Float64Array(channels)
  const readers = wiring.consumersOf(value)
  if (readers.length === 0 || wiring.isOutput(value)) squares.fill(1)
  for (const node of readers) {
    const form = node.opType === 'Conv' ? toConvNode(graph, node, shapes)?.form : undefined
    const matrix = toMatrixNode(graph, node, shapes, () => undefined)
    if (matrix?.form.isDiagonal === false && matrix.form.inputs === channels && matrix.input === value) {
      for (const [i, weight] of matrix.form.weight.entries())
        squares[Math.floor(i / matrix.form.outputs)]! += weight ** 2
      continue
    }
    if (form === undefined || form.inputs !== channels) {
      for (let c = 0; c < channels; c++) squares[c]! += 1
      continue
    }
    const perGroup = form.inputs / form.group
    const taps = form.kernel[0] * form.kernel[1]
    for (let o = 0; o < form.outputs; o++) {
      const from = Math.floor(o / (form.outputs / form.group)) * perGroup
      for (let c = 0; c < perGroup; c++)
        for (let t = 0; t < taps; t++) squares[from + c]! += form.weight[(o * perGroup + c) * taps + t]! ** 2
    }
  }
  return squares.map(Math.sqrt)
}

interface Candidate extends RankedRectifier {
  readonly rectifier: Rectifier
  readonly isOff: readonly boolean[]
}

/**
 * Rank non-linearities by how linear they are already.
 *
 * @param measured Statistics over calibration data (`measureChannels`): EASIER needs them, TLC takes them where no
 *   BatchNorm tells.
 */
export function rankRectifiers(
  graph: Graph,
  shapes: Shapes,
  method: CollapseMethod,
  measured?: ReadonlyMap<string, ChannelStatistics>,
): Candidate[] {
  const candidates = findRectifiers(graph, shapes).map((rectifier): Candidate => {
    const { name, kind, channels } = rectifier
    const own = measured?.get(name)
    const base = { name, kind, channels, rectifier }
    const none = Array<boolean>(channels).fill(false)
    if (method === 'easier') {
      if (own?.positive.length !== channels)
        return { ...base, score: null, on: 0, off: 0, isOff: none, reason: 'EASIER needs calibration data' }
      const score = own.positive.reduce((sum, p) => sum + entropyBits(p), 0) / channels
      const off = own.positive.filter((p) => p < 0.5).length
      return { ...base, score, on: channels - off, off, isOff: none, reason: undefined }
    }
    const statistics = normStatistics(graph, rectifier) ?? own
    if (statistics?.mean.length !== channels) {
      const reason =
        statistics === undefined
          ? whyNoNorm(rectifier)
          : `statistics are of ${statistics.mean.length} channels, it has ${channels}: measure again`
      return { ...base, score: null, on: 0, off: 0, isOff: none, reason }
    }
    const { mean, deviation } = statistics
    const norms = readerNorms(graph, shapes, rectifier.output, channels)
    // The line of the majority is wrong by z, or with a slope by what of z is not let through.
    const share = Math.abs(1 - rectifier.slope)
    const score = share * mean.reduce((sum, each, c) => sum + minorityError(each, deviation[c]!) * norms[c]!, 0)
    const isOff = Array.from(mean, (each) => each <= 0)
    const off = isOff.filter(Boolean).length
    return { ...base, score, on: channels - off, off, isOff, reason: undefined }
  })
  return candidates.sort((a, b) => (a.score ?? Number.POSITIVE_INFINITY) - (b.score ?? Number.POSITIVE_INFINITY))
}

export interface Collapsed {
  readonly name: string
  readonly kind: Rectifier['kind']
  /** Channels that were taken out, and that were set to zero because others depend on them. */
  readonly removed: number
  readonly zeroed: number
}

/** The type that most of a graph's numbers have: that of its first weights. */
const floatTypeOf = (graph: Graph): Tensor['type'] => [...graph.initializers.values()].find(isFloat)?.type ?? TYPE.FLOAT

/** Whether a BatchNorm or a convolution alone decides what goes into a rectifier, and into nothing else. */
function ownTensors(graph: Graph, { producer, input }: Rectifier): string[] | undefined {
  if (producer?.opType !== 'BatchNormalization' && producer?.opType !== 'Conv') return undefined
  const wiring = new Wiring(graph)
  const names = producer.inputs.slice(1, 3).filter((name) => name !== '')
  const isOwn = wiring.onlyConsumerOf(input) !== undefined
  const areOwn = names.every((name) => graph.initializers.has(name) && wiring.onlyConsumerOf(name) === producer)
  return isOwn && areOwn ? names : undefined
}

/** Put a factor by channel in a rectifier's place: into what makes its input where that is its alone, else a product. */
function scaleInstead(graph: Graph, rectifier: Rectifier, factors: ReadonlyMap<number, number>, rank: number): Graph {
  const { input, output, name, channels, channelAxis } = rectifier
  const own = ownTensors(graph, rectifier)
  const initializers = new Map<string, Tensor>()
  if (own !== undefined) {
    for (const tensorName of own) {
      const tensor = graph.initializers.get(tensorName)!
      const values = floatsOf(tensor, tensorName)
      const each = values.length / tensor.dims[0]!
      for (const [c, factor] of factors)
        for (let i = c * each; i < (c + 1) * each; i++) values[i] = factor === 0 ? 0 : values[i]! * factor
      initializers.set(tensorName, floatTensor(values, tensor.dims, tensor.type))
    }
    return rewire(rewrite(graph, { initializers }), new Map([[output, input]]))
  }
  const mask = freshName(graph, `${name}.mask`)
  const values = Float64Array.from({ length: channels }, (_, c) => factors.get(c) ?? 1)
  const dims = Array.from({ length: rank - channelAxis }, (_, i) => (i === 0 ? channels : 1))
  initializers.set(mask, floatTensor(values, dims, floatTypeOf(graph)))
  const last = new Wiring(graph).producerOf(output)!
  const product: Node = {
    name,
    opType: 'Mul',
    domain: '',
    inputs: [input, mask],
    outputs: [output],
    attributes: new Map(),
  }
  return rewrite(graph, { nodes: new Map([[last, [product]]]), initializers })
}

/** Whether nothing but the rectifier comes after what makes its channels. */
function isOnlyUse(graph: Graph, shapes: Shapes, { input }: Rectifier): boolean {
  const wiring = new Wiring(graph)
  for (let value = input; ; ) {
    const producer = wiring.producerOf(value)
    // An activation of several nodes reads its input several times.
    if (producer === undefined || (value !== input && wiring.onlyConsumerOf(value) === undefined)) return false
    if (wiring.isOutput(value)) return false
    if (producer.opType === 'Gemm' || producer.opType === 'MatMul') return true
    const linear = toConvNode(graph, producer, shapes)
    if (linear === undefined) return false
    if (producer.opType === 'Conv' && linear.form.group === 1) return true
    value = linear.input
  }
}

/**
 * Make one non-linearity linear: channels that are off are taken out where nothing else depends on them, else set to
 * zero; the others pass through. What was two convolutions with a rectifier between is then in a row, for `fold`.
 */
async function linearise(
  graph: Graph,
  shapes: Shapes,
  probe: (graph: Graph) => Promise<Shapes>,
  { rectifier, isOff }: Candidate,
): Promise<{ graph: Graph; collapsed: Collapsed }> {
  const { name, kind, input, output, slope } = rectifier
  const off = isOff.flatMap((is, c) => (is ? [c] : []))
  const rank = shapes.get(input)!.length
  const scaled = new Map(off.map((c) => [c, slope]))
  const zeroed = off.length === 0 ? undefined : scaleInstead(graph, rectifier, scaled, rank)
  const whole = zeroed ?? rewire(graph, new Map([[output, input]]))
  const none = { graph: whole, collapsed: { name, kind, removed: 0, zeroed: off.length } }
  const isAlone = new Wiring(graph).consumersOf(input).every((node) => isPartOf(graph, node, rectifier))
  if (zeroed === undefined || slope !== 0 || !isAlone || !isOnlyUse(graph, shapes, rectifier)) return none
  // What goes is zero in `zeroed` already: nothing is lost with it but what it amounts to further on.
  const value = zeroed.nodes.some(({ outputs }) => outputs.includes(output)) ? output : input
  const before = await probe(zeroed)
  const found = new Channels(zeroed, before)
  const ids = found.classesOf(value)
  if (ids.length !== isOff.length) return none
  const isRemovable = (c: number): boolean => {
    const { rows, locked } = found.classOf(ids[c]!)
    return locked === undefined && rows.filter(({ role }) => role === 'makes').length === 1
  }
  // One channel has to be left for the graph to be one.
  const removable = off.filter(isRemovable).slice(0, isOff.length - 1)
  const settled = removable.length === 0 ? undefined : settleDeadChannels(zeroed, before, value, new Set(removable))
  if (settled === undefined) return none
  const after = new Channels(settled, before)
  const now = after.classesOf(value)
  return {
    graph: removeChannels(settled, after, new Set(removable.map((c) => now[c]!))),
    collapsed: { name, kind, removed: removable.length, zeroed: off.length - removable.length },
  }
}

/** Whether a node is one of those that a rectifier is made of. */
function isPartOf(graph: Graph, node: Node, { output }: Rectifier): boolean {
  const wiring = new Wiring(graph)
  const end = wiring.producerOf(output)
  // GELU has five nodes at most.
  for (let at: Node | undefined = node, i = 0; at !== undefined && i < 5; i++) {
    if (at === end) return true
    at = wiring.onlyConsumerOf(at.outputs[0]!)
  }
  return false
}

export interface CollapseReport {
  readonly ranking: readonly RankedRectifier[]
  readonly collapsed: readonly Collapsed[]
  /** Chosen, but left as they are. */
  readonly left: readonly { readonly name: string; readonly reason: string }[]
}

/**
 * Linearise the non-linearities that matter least (TLC, Liao et al. 2025; EASIER, Quetu et al. 2024). Nothing heals
 * the loss: fine-tune afterwards. Fold afterwards too: that is where depth falls.
 *
 * @param options.count How many go. @param options.names Exactly these instead.
 * @throws {ModelError} If one that is named is none, or has no score.
 */
export async function collapse(
  original: Graph,
  probe: (graph: Graph) => Promise<Shapes>,
  options: {
    method: CollapseMethod
    count?: number
    names?: readonly string[]
    measured?: ReadonlyMap<string, ChannelStatistics>
  },
): Promise<{ graph: Graph; report: CollapseReport }> {
  let graph = hoistConstants(original)
  const ranking = rankRectifiers(graph, await probe(graph), options.method, options.measured)
  const scored = ranking.filter(({ score }) => score !== null)
  if (scored.length === 0)
    throw new ModelError(
      `Cannot collapse model: ${ranking.length === 0 ? 'it has no rectifier' : `no rectifier has a score; ${ranking[0]!.name}: ${ranking[0]!.reason}`}`,
    )
  const chosen =
    options.names === undefined
      ? scored.slice(0, options.count ?? 1)
      : options.names.map((name) => {
          const found = scored.find((candidate) => candidate.name === name)
          if (found === undefined)
            throw new ModelError(
              `Cannot collapse "${name}": found ${scored.map((each) => `"${each.name}"`).join(', ')}`,
            )
          return found
        })
  const collapsed: Collapsed[] = []
  const left: CollapseReport['left'][number][] = []
  for (const { name } of chosen) {
    // Found again after each: nodes are others now, and so are counts of channels.
    const shapes = await probe(graph)
    const now = rankRectifiers(graph, shapes, options.method, options.measured)
    const candidate = now.find((each) => each.name === name)
    if (candidate === undefined || candidate.score === null) {
      left.push({ name, reason: candidate?.reason ?? 'another one took it along' })
      continue
    }
    const done = await linearise(graph, shapes, probe, candidate)
    graph = done.graph
    collapsed.push(done.collapsed)
  }
  const toRow = ({ rectifier: _, isOff: __, ...row }: Candidate): RankedRectifier => row
  return { graph, report: { ranking: ranking.map(toRow), collapsed, left } }
}
