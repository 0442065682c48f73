import { intAttribute, intOf } from './attributes.ts'
import type { Channels } from './channels.ts'
import { freshName, type Graph, type Node } from './graph.ts'
import { rewrite } from './rewrite.ts'
import { int64Tensor, integersOf, sizeOf, type Tensor } from './tensor.ts'

function removeRows({ type, dims, data }: Tensor, axis: number, gone: ReadonlySet<number>): Tensor {
  const outer = sizeOf(dims.slice(0, axis))
  const inner = data.length / sizeOf(dims.slice(0, axis + 1))
  const kept = Array.from({ length: dims[axis]! }, (_, i) => i).filter((i) => !gone.has(i))
  const out = new Uint8Array(outer * kept.length * inner)
  let to = 0
  for (let o = 0; o < outer; o++)
    for (const i of kept) {
      const from = (o * dims[axis]! + i) * inner
      out.set(data.subarray(from, from + inner), to)
      to += inner
    }
  return { type, dims: dims.map((dim, i) => (i === axis ? kept.length : dim)), data: out }
}

/**
 * Take channels out of a graph: their rows in every weight, and the counts that name them.
 *
 * @param gone Classes of `channels`, none of them locked, and not all of any value.
 */
export function removeChannels(graph: Graph, channels: Channels, gone: ReadonlySet<number>): Graph {
  if (gone.size === 0) return graph
  const rows = new Map<string, Map<number, Set<number>>>()
  for (const id of gone)
    for (const { tensor, axis, index } of channels.classOf(id).rows) {
      const axes = rows.get(tensor) ?? new Map<number, Set<number>>()
      axes.set(axis, (axes.get(axis) ?? new Set()).add(index))
      rows.set(tensor, axes)
    }
  const initializers = new Map<string, Tensor>()
  for (const [name, axes] of rows) {
    let tensor = graph.initializers.get(name)!
    for (const [axis, indices] of axes) tensor = removeRows(tensor, axis, indices)
    initializers.set(name, tensor)
  }
  const left = (value: string): number => channels.classesOf(value).filter((id) => !gone.has(id)).length
  const nodes = new Map<Node, readonly Node[]>()
  for (const node of graph.nodes) {
    const weight = graph.initializers.get(node.inputs[1] ?? '')
    if (node.opType === 'Conv' && intOf(node, 'group', 1) > 1 && weight?.dims[1] === 1 && rows.has(node.inputs[1]!)) {
      const group = left(node.inputs[0]!)
      nodes.set(node, [{ ...node, attributes: new Map([...node.attributes, ['group', intAttribute('group', group)]]) }])
    }
    const at = channels.reshapeOf(node)
    if (at !== undefined && channels.classesOf(node.outputs[0]!).some((id) => gone.has(id))) {
      const target = integersOf(weight!, node.inputs[1]!)
      const name = freshName(graph, `${node.outputs[0]}.shape`, initializers)
      initializers.set(name, int64Tensor(target.map((dim, i) => (i === at ? left(node.outputs[0]!) : dim))))
      nodes.set(node, [{ ...node, inputs: [node.inputs[0]!, name] }])
    }
  }
  return rewrite(graph, { nodes, initializers })
}
