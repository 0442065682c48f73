import { clone, create, toBinary } from '@bufbuild/protobuf'
import type { Graph, Node } from './graph.ts'
import { GraphProtoSchema, ModelProtoSchema, NodeProtoSchema, StringStringEntryProtoSchema } from './onnx_pb.ts'
import { toProto } from './tensor.ts'

export interface WriteOptions {
  /** Added to the model's metadata; a key that is there is replaced. */
  readonly metadata?: Readonly<Record<string, string>>
}

const toNodeProto = ({ name, opType, domain, inputs, outputs, attributes, source }: Node) =>
  create(NodeProtoSchema, {
    // Notes of the node that it was, or was made of: docs, metadata, overload.
    ...(source?.docString ? { docString: source.docString } : {}),
    ...(source?.overload ? { overload: source.overload } : {}),
    ...(source === undefined ? {} : { metadataProps: source.metadataProps }),
    ...(name === '' ? {} : { name }),
    ...(domain === '' ? {} : { domain }),
    opType,
    input: [...inputs],
    output: [...outputs],
    attribute: [...attributes.values()],
  })

/**
 * Write a graph as ONNX. What was read beside it - producer, metadata, functions, other domains - is written back.
 * Shapes of values in between are left out where a pass has changed anything: a runtime infers them.
 */
export function writeModel(graph: Graph, { metadata = {} }: WriteOptions = {}): Uint8Array {
  const before = graph.model.graph!
  const listed = new Set(before.input.map(({ name }) => name))
  const model = clone(ModelProtoSchema, { ...graph.model, graph: undefined })
  for (const [key, value] of Object.entries(metadata)) {
    const entry = model.metadataProps.find((each) => each.key === key)
    if (entry === undefined) model.metadataProps.push(create(StringStringEntryProtoSchema, { key, value }))
    else entry.value = value
  }
  const isUnchanged = graph.nodes.length === before.node.length && graph.initializers.size === before.initializer.length
  model.graph = create(GraphProtoSchema, {
    name: before.name,
    docString: before.docString,
    node: graph.nodes.map(toNodeProto),
    initializer: [...graph.initializers].map(([name, tensor]) => toProto(name, tensor)),
    sparseInitializer: before.sparseInitializer,
    input: [
      ...graph.inputs,
      // Initializers that were listed as inputs stay listed.
      ...before.input.filter(({ name }) => graph.initializers.has(name) && listed.has(name)),
    ],
    output: [...graph.outputs],
    valueInfo: isUnchanged ? before.valueInfo : [],
    quantizationAnnotation: before.quantizationAnnotation,
    metadataProps: before.metadataProps,
  })
  return toBinary(ModelProtoSchema, model)
}
