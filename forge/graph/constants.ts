import type { Graph, Node } from './graph.ts'
import type { AttributeProto } from './onnx_pb.ts'
import { rewrite } from './rewrite.ts'
import { floatTensor, int64Tensor, type Tensor, toTensor } from './tensor.ts'

/** What a Constant node makes; undefined for strings and sparse tensors. */
function constantValue(attributes: ReadonlyMap<string, AttributeProto>): Tensor | undefined {
  const of = (key: string): AttributeProto | undefined => attributes.get(key)
  const tensor = of('value')?.t
  if (tensor !== undefined) return toTensor(tensor)
  if (of('value_float') !== undefined) return floatTensor([of('value_float')!.f], [])
  if (of('value_floats') !== undefined)
    return floatTensor(of('value_floats')!.floats, [of('value_floats')!.floats.length])
  if (of('value_int') !== undefined) return int64Tensor([Number(of('value_int')!.i)], [])
  if (of('value_ints') !== undefined) return int64Tensor(of('value_ints')!.ints.map(Number))
  return undefined
}

/**
 * Values that Constant nodes make, and copies of initializers that exporters share between layers, as initializers of
 * their own: the same numbers where passes look for them.
 */
export function hoistConstants(graph: Graph): Graph {
  const initializers = new Map<string, Tensor>()
  const nodes = new Map<Node, readonly Node[]>()
  for (const node of graph.nodes) {
    const [out] = node.outputs as [string]
    if (graph.outputs.some(({ name }) => name === out)) continue
    const copied = node.opType === 'Identity' ? node.inputs[0]! : ''
    const tensor =
      node.opType === 'Constant' && node.domain === ''
        ? constantValue(node.attributes)
        : (initializers.get(copied) ?? graph.initializers.get(copied))
    if (tensor === undefined) continue
    initializers.set(out, tensor)
    nodes.set(node, [])
  }
  return nodes.size === 0 ? graph : rewrite(graph, { nodes, initializers })
}
