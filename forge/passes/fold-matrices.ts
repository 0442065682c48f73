import { describeNode, intAttribute } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import { chainMatrices, type MatrixNode, toMatrixNode } from '../graph/forms.ts'
import { freshName, type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import { floatTensor, sizeOf, type Tensor } from '../graph/tensor.ts'
import { cheapestCuts, type Fused, type Refusals, refuse, rowsOf, type Segment, type Step } from './fold-step.ts'

/** A row of matrices as one: Gemm where there was one, else MatMul and what is added. The last value keeps its name. */
function toMatrixNodes(
  graph: Graph,
  members: readonly MatrixNode[],
  pending: ReadonlyMap<string, Tensor>,
): { nodes: Node[]; initializers: Map<string, Tensor> } {
  const main = members.findLast(({ form }) => !form.isDiagonal)!
  const form = members.map((each) => each.form).reduce(chainMatrices)
  const { type } = main.form
  const [node] = main.nodes as [Node]
  const name = node.name || node.outputs[0]!
  const weightName = freshName(graph, `${name}.weight`, pending)
  const biasName = freshName(graph, `${name}.bias`, pending)
  const initializers = new Map([[weightName, floatTensor(form.weight, [form.inputs, form.outputs], type)]])
  const base = { name, domain: '', attributes: new Map(), ...(node.source && { source: node.source }) }
  const { output } = members.at(-1)!
  const input = members[0]!.input
  const hasBias = form.bias.some((value) => value !== 0)
  if (hasBias) initializers.set(biasName, floatTensor(form.bias, [form.outputs], type))
  if (members.some((each) => each.nodes[0]!.opType === 'Gemm')) {
    // Gemm needs something to add before opset 11.
    if (!hasBias && graph.opset < 11) initializers.set(biasName, floatTensor(form.bias, [form.outputs], type))
    const isPlain = !hasBias && graph.opset >= 11
    const attributes = form.isTransposed ? new Map([['transA', intAttribute('transA', 1)]]) : new Map()
    const inputs = isPlain ? [input, weightName] : [input, weightName, biasName]
    return { nodes: [{ ...base, opType: 'Gemm', inputs, outputs: [output], attributes }], initializers }
  }
  if (!hasBias)
    return { nodes: [{ ...base, opType: 'MatMul', inputs: [input, weightName], outputs: [output] }], initializers }
  const middle = freshName(graph, `${output}.product`)
  return {
    nodes: [
      { ...base, opType: 'MatMul', inputs: [input, weightName], outputs: [middle] },
      { ...base, name: `${name}.add`, opType: 'Add', inputs: [middle, biasName], outputs: [output] },
    ],
    initializers,
  }
}

/** Make one matrix over the last axis of those that stand in a row, wherever it multiplies less. */
export function chainLinears(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  const found = graph.nodes.flatMap(
    (node) => toMatrixNode(graph, node, shapes, (output) => wiring.onlyConsumerOf(output)) ?? [],
  )
  // A constant that MatMul has taken along is not one of its own.
  const taken = new Set(found.flatMap(({ nodes: [, add] }) => add ?? []))
  const linear = found.filter(({ nodes: [first] }) => !taken.has(first!))
  const byFirst = new Map(linear.map((each) => [each.nodes[0]!, each]))
  const nextOf = ({ output }: MatrixNode): MatrixNode | undefined => {
    const next = wiring.onlyConsumerOf(output)
    const following = next && byFirst.get(next)
    return following?.input === output && !following.form.isTransposed ? following : undefined
  }
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  const fused: Fused[] = []
  const made = new Map<string, readonly number[]>()
  for (const row of rowsOf(linear, nextOf)) {
    if (row.length === 1 || row.every(({ form }) => form.isDiagonal)) continue
    const dims = shapes.get(row[0]!.output)!
    const rows = sizeOf(dims.slice(0, -1))
    const costOf = ({ from, to }: Segment): number | undefined => {
      const members = row.slice(from, to + 1)
      const [inputs, outputs] = [row[from]!.form.inputs, row[to]!.form.outputs]
      if (members.some(({ form }) => !form.isDiagonal)) return rows * inputs * outputs
      return from === to ? rows * outputs : undefined
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
          [row[to]!.nodes[0]!, row[to + 1]!.nodes[0]!],
          `one would multiply more: ${cost + costOf(next)!} -> ${both}`,
        )
      if (from === to) continue
      const members = row.slice(from, to + 1)
      const replacement = toMatrixNodes(graph, members, initializers)
      for (const each of members) for (const node of each.nodes) nodes.set(node, [])
      nodes.set(members.at(-1)!.nodes.at(-1)!, replacement.nodes)
      for (const [name, tensor] of replacement.initializers) initializers.set(name, tensor)
      for (const node of replacement.nodes)
        made.set(node.outputs[0]!, [...dims.slice(0, -1), members.at(-1)!.form.outputs])
      fused.push({
        nodes: members.flatMap((each) => each.nodes.map(describeNode)),
        into: describeNode(replacement.nodes[0]!),
        macsBefore: members.reduce((sum, _, k) => sum + costOf({ from: from + k, to: from + k })!, 0),
        macsAfter: cost,
        hasBorderMap: false,
        hasBorderStrips: false,
      })
    }
  }
  return fused.length === 0 ? { graph } : { graph: rewrite(graph, { nodes, initializers }), fused, shapes: made }
}
