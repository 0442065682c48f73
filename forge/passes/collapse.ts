import { ModelError } from '@espalier/shared/errors'
import { Channels, removeChannels } from '../graph/channels.ts'
import type { Shapes } from '../graph/cost.ts'
import { toConvNode } from '../graph/forms.ts'
import { type Graph, Wiring } from '../graph/graph.ts'
import { rewire, rewrite } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, type Tensor } from '../graph/tensor.ts'
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

/** How much each channel of a value weighs in what reads it: the L2 norm of its column, 1 where that is no convolution. */
function readerNorms(graph: Graph, shapes: Shapes, value: string, channels: number): Float64Array {
  const wiring = new Wiring(graph)
  const norms = new Float64Array(channels)
  for (const node of wiring.consumersOf(value)) {
    const form = node.opType === 'Conv' ? toConvNode(graph, node, shapes)?.form : undefined
    if (form === undefined || form.inputs !== channels) continue
    const perGroup = form.inputs / form.group
    const taps = form.kernel[0] * form.kernel[1]
    for (let o = 0; o < form.outputs; o++) {
      const from = Math.floor(o / (form.outputs / form.group)) * perGroup
      for (let c = 0; c < perGroup; c++)
        for (let t = 0; t < taps; t++) norms[from + c]! += form.weight[(o * perGroup + c) * taps + t]! ** 2
    }
  }
  return norms.map((square) => (square === 0 ? 1 : Math.sqrt(square)))
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
      if (own === undefined)
        return { ...base, score: null, on: 0, off: 0, isOff: none, reason: 'EASIER needs calibration data' }
      const score = own.positive.reduce((sum, p) => sum + entropyBits(p), 0) / channels
      const off = own.positive.filter((p) => p < 0.5).length
      return { ...base, score, on: channels - off, off, isOff: none, reason: undefined }
    }
    const statistics = normStatistics(graph, rectifier) ?? own
    if (statistics?.mean.length !== channels)
      return { ...base, score: null, on: 0, off: 0, isOff: none, reason: whyNoNorm(rectifier) }
    const { mean, deviation } = statistics
    const norms = readerNorms(graph, shapes, rectifier.output, channels)
    const score = mean.reduce((sum, each, c) => sum + minorityError(each, deviation[c]!) * norms[c]!, 0)
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

/** Set a channel of a convolution or a BatchNorm to zero, whichever makes the value. */
function zeroChannels(graph: Graph, rectifier: Rectifier, off: ReadonlySet<number>): Graph {
  const { producer } = rectifier
  const at = producer?.opType === 'BatchNormalization' ? [1, 2] : producer?.opType === 'Conv' ? [1, 2] : undefined
  if (producer === undefined || at === undefined)
    throw new ModelError(
      `Cannot collapse "${rectifier.name}": ${whyNoNorm(rectifier)} nor a convolution, so its channels cannot be set to zero; use --method easier`,
    )
  const initializers = new Map<string, Tensor>()
  for (const input of at) {
    const name = producer.inputs[input]
    const tensor = name ? graph.initializers.get(name) : undefined
    if (name === undefined || tensor === undefined) continue
    const values = floatsOf(tensor, name)
    const each = values.length / tensor.dims[0]!
    for (const c of off) values.fill(0, c * each, (c + 1) * each)
    initializers.set(name, floatTensor(values, tensor.dims, tensor.type))
  }
  return rewrite(graph, { initializers })
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
  const off = new Set(isOff.flatMap((is, c) => (is ? [c] : [])))
  const channels = new Channels(graph, shapes)
  const classes = rectifier.channelAxis === 1 ? channels.classesOf(rectifier.output) : []
  const removable = new Set<number>()
  const left = new Set<number>()
  for (const c of off) {
    const id = classes[c]
    const found = id === undefined ? undefined : channels.classOf(id)
    // A channel with one maker goes as a whole; one that several make, across a residual sum, is only zero here.
    const isOwn = found?.locked === undefined && found?.rows.filter(({ role }) => role === 'makes').length === 1
    // One channel has to be left for the graph to be one.
    if (isOwn && removable.size + 1 < isOff.length) removable.add(id!)
    else left.add(c)
  }
  let next = left.size === 0 ? graph : zeroChannels(graph, rectifier, left)
  next = rewire(next, new Map([[rectifier.output, rectifier.input]]))
  if (removable.size > 0) {
    const after = new Channels(next, await probe(next))
    next = removeChannels(next, after, translate(channels, after, rectifier.input, removable))
  }
  return {
    graph: next,
    collapsed: { name: rectifier.name, kind: rectifier.kind, removed: removable.size, zeroed: left.size },
  }
}

/** The same channels after an edit, found by a value that both graphs have. */
function translate(before: Channels, after: Channels, value: string, ids: ReadonlySet<number>): Set<number> {
  const [old, now] = [before.classesOf(value), after.classesOf(value)]
  return new Set(old.flatMap((id, c) => (ids.has(id) ? [now[c]!] : [])))
}

export interface CollapseReport {
  readonly ranking: readonly RankedRectifier[]
  readonly collapsed: readonly Collapsed[]
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
  for (const { name } of chosen) {
    // Found again after each: nodes are others now, and so are counts of channels.
    const shapes = await probe(graph)
    const now = rankRectifiers(graph, shapes, options.method, options.measured)
    const candidate = now.find((each) => each.name === name)
    if (candidate?.score === null || candidate === undefined) continue
    const done = await linearise(graph, shapes, probe, candidate)
    graph = done.graph
    collapsed.push(done.collapsed)
  }
  const toRow = ({ rectifier: _, isOff: __, ...row }: Candidate): RankedRectifier => row
  return { graph, report: { ranking: ranking.map(toRow), collapsed } }
}
