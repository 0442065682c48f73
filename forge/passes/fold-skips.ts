import { describeNode } from '../graph/attributes.ts'
import { addParallel, macsPerPlace, pointwise, whyNotParallel } from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { type LinearNode, toConvNode } from '../graph/forms.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import { type Fused, placesOf, type Refusals, refuse, type Step, toNodes } from './fold-step.ts'

/** A sum of two convolutions of one value, or of a value and its convolution, as one (methods.md 1.7). One at a time. */
export function absorbSkip(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  for (const add of graph.nodes) {
    if (add.opType !== 'Add' || add.inputs.some((name) => graph.initializers.has(name))) continue
    const dims = shapes.get(add.outputs[0]!)
    if (dims?.length !== 4 || add.inputs.some((name) => shapes.get(name)?.join() !== dims.join())) continue
    const branches = add.inputs.map((name): LinearNode | undefined => {
      const node = wiring.producerOf(name)
      return node === undefined || wiring.onlyConsumerOf(name) !== add ? undefined : toConvNode(graph, node, shapes)
    })
    const [a, b] = branches
    const [left, right] = add.inputs as [string, string]
    let input: string
    if (a !== undefined && b !== undefined && a.input === b.input) input = a.input
    else if (a?.input === right) input = right
    else if (b?.input === left) input = left
    else continue
    // A branch that is only a BatchNorm is a convolution too, but one branch has to be: there its type and name are.
    const own = [a, b].filter((branch) => branch?.input === input) as LinearNode[]
    const main = own.find(({ node }) => node.opType === 'Conv')
    if (main === undefined) continue
    const identity = pointwise(dims[1]!, main.form.type)
    const [formA, formB] = [own[0]!.form, own[1]?.form ?? identity]
    const members = [...new Set([...own.map(({ node }) => node), add])]
    const reason = whyNotParallel(formA, formB)
    if (reason !== undefined) {
      refuse(refusals, members, reason)
      continue
    }
    const form = { ...addParallel(formA, formB), type: main.form.type }
    const places = placesOf(shapes, add.outputs[0]!)
    // A sum of one convolution and itself computes it once.
    const isTwice = own[0]!.node === own[1]?.node
    const before = places * (macsPerPlace(formA) + (isTwice ? 0 : macsPerPlace(formB)))
    const after = places * macsPerPlace(form)
    if (after > before) {
      refuse(refusals, members, `one would multiply more: ${before} -> ${after}`)
      continue
    }
    const made = toNodes(graph, form, {
      name: main.node.name || main.node.outputs[0]!,
      input,
      output: add.outputs[0]!,
      pending: new Map(),
      dims,
      source: main.node.source,
    })
    const nodes = new Map<Node, readonly Node[]>(members.map((node) => [node, []]))
    nodes.set(add, made.nodes)
    const fused: Fused = {
      nodes: members.map(describeNode),
      into: describeNode(made.nodes[0]!),
      macsBefore: before,
      macsAfter: after,
      hasBorderMap: false,
      hasBorderStrips: false,
    }
    return { graph: rewrite(graph, { nodes, initializers: made.initializers }), fused: [fused] }
  }
  return { graph }
}
