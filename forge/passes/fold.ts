import { describeNode, floatOf } from '../graph/attributes.ts'
import { hoistConstants } from '../graph/constants.ts'
import type { Shapes } from '../graph/cost.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewire } from '../graph/rewrite.ts'
import { floatsOf, isFloat } from '../graph/tensor.ts'
import { recomputeBorders } from './fold-borders.ts'
import { chainConvs } from './fold-convs.ts'
import { chainLinears } from './fold-matrices.ts'
import { absorbSkip } from './fold-skips.ts'
import type { Fused, Refusals, Step } from './fold-step.ts'

export { hoistConstants } from '../graph/constants.ts'
export type { Fused } from './fold-step.ts'

export interface FoldReport {
  readonly removed: readonly string[]
  readonly fused: readonly Fused[]
  readonly refused: readonly { readonly nodes: readonly string[]; readonly reason: string }[]
}

export interface FoldOptions {
  /**
   * A rectifier whose slope below zero is this near to one counts as the identity: 0.9 (Layer Folding's, for residual
   * nets) takes slopes from 0.9 to 1.1.
   */
  readonly slopeThreshold?: number
}

/** Whether a node is the identity at inference; slopes within 1 - `threshold` of one count as one. */
function isNothing(graph: Graph, node: Node, wiring: Wiring, threshold: number): boolean {
  if (node.domain !== '') return false
  const isNearlyOne = (slope: number): boolean => Math.abs(slope - 1) <= 1 - threshold + 1e-9
  switch (node.opType) {
    case 'Identity':
      return !graph.initializers.has(node.inputs[0]!)
    case 'Dropout': {
      const [, , training] = node.inputs
      const mode = training ? graph.initializers.get(training) : undefined
      const mask = node.outputs[1] || undefined
      const isMaskRead = mask !== undefined && (wiring.consumersOf(mask).length > 0 || wiring.isOutput(mask))
      return !isMaskRead && (!training || mode?.data[0] === 0)
    }
    case 'LeakyRelu':
      return isNearlyOne(floatOf(node, 'alpha', 0.01))
    case 'PRelu': {
      const slopes = graph.initializers.get(node.inputs[1] ?? '')
      return slopes !== undefined && isFloat(slopes) && floatsOf(slopes, node.inputs[1]!).every(isNearlyOne)
    }
    default:
      return false
  }
}

/** Drop what does nothing at inference, rectifiers with a slope of nearly one among it. */
function dropNothing(graph: Graph, threshold: number): Step {
  const wiring = new Wiring(graph)
  const gone = graph.nodes.filter((node) => isNothing(graph, node, wiring, threshold))
  const next = rewire(graph, new Map(gone.map((node) => [node.outputs[0]!, node.inputs[0]!])))
  const left = new Set(next.nodes.flatMap(({ outputs, opType }) => (opType === 'Identity' ? outputs : [])))
  const removed = gone.filter((node) => node.opType !== 'Identity' || !left.has(node.outputs[0]!))
  return removed.length === 0 ? { graph } : { graph: next, removed: removed.map(describeNode) }
}

/**
 * Fold everything that stands in a row and is linear into one operator, wherever that is exact and multiplies no more:
 * BatchNorm and constants into convolutions, convolution into convolution, matrix into matrix, skips into kernels, and
 * rectifiers that are (nearly) the identity into nothing (LayerFold, Layer Folding; methods.md 1 and 2).
 *
 * @param shapes Of every value of the graph with its constants hoisted (`probeShapes`). Where the model leaves its
 *   height or width open, nothing is folded that would hold at these sizes alone.
 */
export function fold(
  original: Graph,
  shapes: Shapes,
  { slopeThreshold = 0.9 }: FoldOptions = {},
): { graph: Graph; report: FoldReport } {
  const removed: string[] = []
  const fused: Fused[] = []
  let refusals: Refusals = new Map()
  let graph = hoistConstants(original)
  const known = new Map(shapes)
  for (;;) {
    const before = graph
    refusals = new Map()
    const steps = [
      (g: Graph) => dropNothing(g, slopeThreshold),
      (g: Graph) => chainConvs(g, known, refusals),
      (g: Graph) => chainLinears(g, known, refusals),
      (g: Graph) => absorbSkip(g, known, refusals),
      // Last, when no cheaper way is left: it takes a row apart for good.
      (g: Graph) => (g === before ? recomputeBorders(g, known, refusals) : { graph: g }),
    ]
    for (const step of steps) {
      const done = step(graph)
      graph = done.graph
      removed.push(...(done.removed ?? []))
      fused.push(...(done.fused ?? []))
      for (const [name, dims] of done.shapes ?? []) known.set(name, dims)
    }
    if (graph === before) break
  }
  return { graph, report: { removed, fused, refused: [...refusals.values()] } }
}
