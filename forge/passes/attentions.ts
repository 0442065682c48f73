import { describeNode } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { sizeOf } from '../graph/tensor.ts'

export interface Attention {
  /** Over [N, heads, tokens, tokens]. */
  readonly softmax: Node
  /** Keys, transposed: [N, heads, width, tokens]. */
  readonly keys: string
  /** The residual sum after it: [N, tokens, width]. */
  readonly sum: Node
  readonly tokens: number
  readonly width: number
  readonly batch: number
}

export interface Attentions {
  readonly found: readonly Attention[]
  /** Of each other Softmax over pairs of equal axes: why no token can merge after it. */
  readonly refused: readonly string[]
}

/** The product of queries and keys, through scales and whatever else is one for all tokens; else why there is none. */
function productOf(graph: Graph, wiring: Wiring, softmax: Node, tokens: number): Node | string {
  let at = wiring.producerOf(softmax.inputs[0]!)
  while (at !== undefined && at.opType !== 'MatMul') {
    const varying = at.inputs.filter((name) => name !== '' && !graph.initializers.has(name))
    const isPaired = at.inputs.some((name) => graph.initializers.get(name)?.dims.slice(-2).includes(tokens))
    if (isPaired)
      return `${describeNode(at)} adds a constant of its own for each of ${tokens} tokens, which cannot merge`
    if (varying.length !== 1) return `${describeNode(at)} stands between it and the product of queries and keys`
    at = wiring.producerOf(varying[0]!)
  }
  return at ?? 'no product of queries and keys comes before it'
}

/** The first sum of two values of [N, tokens, width] after a node, along the only way that leads from it. */
function residualAfter(graph: Graph, wiring: Wiring, start: Node, shapes: Shapes, tokens: number): Node | undefined {
  let at: Node | undefined = start
  while (at !== undefined) {
    const next: Node | undefined = wiring.onlyConsumerOf(at.outputs[0]!)
    if (next?.opType === 'Add' && next.inputs.every((name) => !graph.initializers.has(name))) {
      const dims = shapes.get(next.outputs[0]!)
      return dims?.length === 3 && dims[1] === tokens ? next : undefined
    }
    at = next
  }
  return undefined
}

/** Attentions over all tokens of a picture, each with a residual sum after it (pre- or post-norm transformers). */
export function findAttentions(graph: Graph, shapes: Shapes): Attentions {
  const wiring = new Wiring(graph)
  const batch = shapes.get(graph.inputs[0]?.name ?? '')?.[0]
  const found: Attention[] = []
  const refused: string[] = []
  for (const softmax of graph.nodes) {
    const dims = shapes.get(softmax.outputs[0]!) ?? []
    const tokens = dims.at(-1)!
    if (softmax.opType !== 'Softmax' || dims.length < 3 || dims.at(-2) !== tokens) continue
    const refuse = (reason: string): void => void refused.push(`${describeNode(softmax)}: ${reason}`)
    if (dims.length !== 4) refuse(`found ${dims.join(' x ')}, expected N x heads x tokens x tokens`)
    else if (dims[0] !== batch)
      refuse(`found ${sizeOf(dims.slice(0, 1)) / (batch || 1)} windows of ${tokens} tokens, expected one of all tokens`)
    else {
      const product = productOf(graph, wiring, softmax, tokens)
      const sum = residualAfter(graph, wiring, softmax, shapes, tokens)
      if (typeof product === 'string') refuse(product)
      else if (sum === undefined) refuse(`no residual sum over N x ${tokens} x width comes after it`)
      else
        found.push({
          softmax,
          keys: product.inputs[1]!,
          sum,
          tokens,
          width: shapes.get(sum.outputs[0]!)![2]!,
          batch: dims[0]!,
        })
    }
  }
  return { found, refused }
}

/** How many attentions there are after which tokens can merge. */
export const countAttentions = (graph: Graph, shapes: Shapes): number => findAttentions(graph, shapes).found.length
