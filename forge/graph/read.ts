import { fromBinary } from '@bufbuild/protobuf'
import { describeError, ModelError } from '@espalier/shared/errors'
import { describeNode } from './attributes.ts'
import { type Graph, type Node, namesRead } from './graph.ts'
import { type ModelProto, ModelProtoSchema, type NodeProto } from './onnx_pb.ts'
import { fromSparseProto } from './sparse.ts'
import { type ReadExternal, type Tensor, toTensor } from './tensor.ts'

/** Opsets whose operators mean what the passes think they do. */
const OPSETS = { oldest: 7, newest: 26 }

function parse(bytes: Uint8Array, name: string): ModelProto {
  try {
    // A Buffer would hand out slices that share its memory.
    return fromBinary(ModelProtoSchema, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (cause) {
    throw new ModelError(`Cannot read model "${name}": it is truncated or no ONNX (${describeError(cause)})`, { cause })
  }
}

const toNode = (proto: NodeProto): Node => ({
  name: proto.name,
  opType: proto.opType,
  domain: proto.domain === 'ai.onnx' ? '' : proto.domain,
  inputs: proto.input,
  outputs: proto.output,
  attributes: new Map(proto.attribute.map((attribute) => [attribute.name, attribute])),
  source: proto,
})

/** @throws {ModelError} If a node reads what nothing makes or what depends on it, or two make the same. */
function checkWiring(graph: Graph, name: string): void {
  const known = new Set([...graph.inputs.map((input) => input.name), ...graph.initializers.keys()])
  const made = new Set(graph.nodes.flatMap(({ outputs }) => outputs))
  for (const node of graph.nodes) {
    if (node.outputs.every((output) => output === ''))
      throw new ModelError(`Cannot read model "${name}": node ${node.opType} "${node.name}" makes nothing`)
    // What inner graphs make themselves is theirs; only a node's own inputs must be there.
    for (const input of node.inputs)
      if (input !== '' && !known.has(input))
        throw new ModelError(
          made.has(input)
            ? `Cannot read model "${name}": node ${describeNode(node)} reads "${input}", which depends on it in a circle`
            : `Cannot read model "${name}": node ${describeNode(node)} reads "${input}", which nothing makes`,
        )
    for (const output of node.outputs) {
      if (output !== '' && known.has(output))
        throw new ModelError(
          `Cannot read model "${name}": node ${describeNode(node)} makes "${output}", which is there already`,
        )
      known.add(output)
    }
  }
  for (const output of graph.outputs)
    if (!known.has(output.name))
      throw new ModelError(`Cannot read model "${name}": nothing makes its output "${output.name}"`)
}

/** Nodes in an order in which they can run: exporters promise it, editors forget it. */
function sorted(nodes: readonly Node[]): Node[] {
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)))
  const done = new Set<Node>()
  const order: Node[] = []
  // A stack instead of calls, because graphs are deep.
  for (const start of nodes) {
    const stack = [start]
    const open = new Set<Node>()
    while (stack.length > 0) {
      const node = stack.at(-1)!
      const missing = done.has(node)
        ? undefined
        : namesRead(node)
            .map((name) => makers.get(name))
            .find((maker) => maker !== undefined && maker !== node && !done.has(maker))
      if (missing !== undefined && !open.has(missing)) {
        open.add(missing)
        stack.push(missing)
        continue
      }
      stack.pop()
      if (!done.has(node)) {
        done.add(node)
        order.push(node)
      }
    }
  }
  return order
}

/**
 * Read an ONNX model. Tolerates what exporters write: initializers listed as inputs, data in fields or raw, float16,
 * data in files beside the model, nodes without names.
 *
 * @param name For messages. @param readExternal Needed where tensors lie in other files.
 * @throws {ModelError} If it is truncated, no ONNX, of an unknown opset, or wired wrongly.
 */
export function readModel(bytes: Uint8Array, name: string, readExternal?: ReadExternal): Graph {
  const model = parse(bytes, name)
  const proto = model.graph
  if (proto === undefined || proto.node.length + proto.output.length === 0)
    throw new ModelError(`Cannot read model "${name}": found no graph in it; is it an ONNX file?`)
  const opset = Number(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0)
  if (opset < OPSETS.oldest || opset > OPSETS.newest)
    throw new ModelError(
      `Cannot read model "${name}": found opset ${opset || 'none'}, expected ${OPSETS.oldest} to ${OPSETS.newest}`,
    )
  const initializers = new Map<string, Tensor>()
  for (const tensor of proto.initializer) {
    if (initializers.has(tensor.name))
      throw new ModelError(`Cannot read model "${name}": two tensors are called "${tensor.name}", expected one`)
    initializers.set(tensor.name, toTensor(tensor, readExternal))
  }
  for (const tensor of proto.sparseInitializer) {
    const own = tensor.values?.name ?? ''
    if (initializers.has(own))
      throw new ModelError(`Cannot read model "${name}": two tensors are called "${own}", expected one`)
    initializers.set(own, fromSparseProto(tensor))
  }
  const graph: Graph = {
    nodes: sorted(proto.node.map(toNode)),
    initializers,
    inputs: proto.input.filter((input) => !initializers.has(input.name)),
    outputs: proto.output,
    opset,
    model,
  }
  checkWiring(graph, name)
  return graph
}
