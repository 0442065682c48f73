import { describeNode } from '../graph/attributes.ts'
import { type Bias, type ConvForm, chain, chainCost, hasNoBias, macsPerPlace, whyNotChain } from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { type LinearNode, toConvNode } from '../graph/forms.ts'
import { type Graph, isSizeOpen, type Node, Wiring } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import type { Tensor } from '../graph/tensor.ts'
import {
  cheapestCuts,
  type Fused,
  placesOf,
  type Refusals,
  refuse,
  rowsOf,
  type Segment,
  type Step,
  toNodes,
} from './fold-step.ts'

/** What two would be as one, without the weights: enough to decide on. */
function sketch(first: ConvForm, second: ConvForm): ConvForm {
  const { group, kernel } = chainCost(first, second)
  const isPadded = second.pads.some((pad) => pad !== 0)
  const hasMap = first.bias.kind === 'map' || second.bias.kind === 'map' || (isPadded && !hasNoBias(first))
  const values = Float64Array.of(hasNoBias(first) && hasNoBias(second) ? 0 : 1)
  const bias: Bias = hasMap ? { kind: 'map', values, height: 0, width: 0 } : { kind: 'vector', values }
  const pad = (side: 0 | 1 | 2 | 3): number => first.pads[side]! + first.strides[side % 2]! * second.pads[side]!
  return {
    ...first,
    weight: new Float64Array(),
    outputs: second.outputs,
    group,
    kernel,
    strides: [first.strides[0] * second.strides[0], first.strides[1] * second.strides[1]],
    dilations: [1, 1],
    pads: [pad(0), pad(1), pad(2), pad(3)],
    bias,
  }
}

/** Make one convolution of those that stand in a row, wherever it multiplies less. */
export function chainConvs(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  const isOpen = isSizeOpen(graph)
  const linear = new Map<Node, LinearNode>()
  for (const node of graph.nodes) {
    const found = toConvNode(graph, node, shapes)
    if (found !== undefined) linear.set(node, found)
  }
  const nextOf = ({ node }: LinearNode): LinearNode | undefined => {
    const next = wiring.onlyConsumerOf(node.outputs[0]!)
    const found = next && linear.get(next)
    return found?.input === node.outputs[0] ? found : undefined
  }
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  const fused: Fused[] = []
  const made = new Map<string, readonly number[]>()
  for (const row of rowsOf([...linear.values()], nextOf)) {
    if (row.length === 1 || !row.some(({ node }) => node.opType === 'Conv')) continue
    const places = row.map(({ node }) => placesOf(shapes, node.outputs[0]!))
    const ownMacs = row.map(({ form }, i) => macsPerPlace(form) * places[i]!)
    const macs = ({ from, to }: Segment): number => ownMacs.slice(from, to + 1).reduce((sum, each) => sum + each, 0)
    const costOf = ({ from, to }: Segment): number | undefined => {
      if (from === to) return ownMacs[from]
      if (!row.slice(from, to + 1).some(({ node }) => node.opType === 'Conv')) return undefined
      let form = row[from]!.form
      for (let i = from + 1; i <= to; i++) {
        const next = row[i]!.form
        const reason = whyNotChain(form, next)
        if (reason !== undefined) {
          if (i === from + 1) refuse(refusals, [row[from]!.node, row[i]!.node], reason)
          return undefined
        }
        form = sketch(form, next)
        if (form.bias.kind === 'map' && isOpen) {
          if (i === from + 1)
            refuse(
              refusals,
              [row[from]!.node, row[i]!.node],
              'borders would need a constant of one size, and the model leaves its size open',
            )
          return undefined
        }
      }
      return macsPerPlace(form) * places[to]!
    }
    const cuts = cheapestCuts(row.length, costOf)
    for (const [i, segment] of cuts.entries()) {
      const { from, to } = segment
      const cost = costOf(segment)!
      const next = cuts[i + 1]
      const both = next && costOf({ from, to: next.to })
      if (next !== undefined && both !== undefined)
        refuse(
          refusals,
          [row[to]!.node, row[to + 1]!.node],
          `one would multiply more: ${cost + costOf(next)!} -> ${both}`,
        )
      if (from === to) continue
      const members = row.slice(from, to + 1)
      const main = members.findLast(({ node }) => node.opType === 'Conv')!
      const last = members.at(-1)!.node
      const [height, width] = shapes.get(members[0]!.input)!.slice(2) as [number, number]
      // Pads and pools have no numbers of their own, and so no type.
      let form: ConvForm = { ...members[0]!.form, type: main.form.type }
      for (const { form: second } of members.slice(1)) form = chain(form, second, [height, width])
      const replacement = toNodes(graph, form, {
        name: main.node.name || main.node.outputs[0]!,
        input: members[0]!.input,
        output: last.outputs[0]!,
        pending: initializers,
        dims: shapes.get(last.outputs[0]!)!,
        source: main.node.source,
      })
      for (const { node } of members) nodes.set(node, [])
      nodes.set(last, replacement.nodes)
      for (const [name, tensor] of replacement.initializers) initializers.set(name, tensor)
      for (const [name, dims] of replacement.shapes) made.set(name, dims)
      fused.push({
        nodes: members.map(({ node }) => describeNode(node)),
        into: describeNode(replacement.nodes[0]!),
        macsBefore: macs(segment),
        macsAfter: cost,
        hasBorderMap: form.bias.kind === 'map',
        hasBorderStrips: false,
      })
    }
  }
  return fused.length === 0 ? { graph } : { graph: rewrite(graph, { nodes, initializers }), fused, shapes: made }
}
