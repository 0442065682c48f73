import { clone, create, toBinary } from '@bufbuild/protobuf'
import type { Graph, Node } from './graph.ts'
import {
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.ts'
import { toSparseProto } from './sparse.ts'
import { type Tensor, toProto } from './tensor.ts'

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

/** The first version of the format that has sparse initializers. */
const SPARSE_IR = 6n

/** What a listed initializer is declared as: its own type and shape, whatever they were when it was read. */
function withDims(input: ValueInfoProto, { type, dims }: Tensor): ValueInfoProto {
  const declared = input.type?.value
  const isSame =
    declared?.case === 'tensorType' &&
    declared.value.elemType === type &&
    declared.value.shape?.dim.map(({ value }) => value.value).join() === dims.join()
  if (isSame) return input
  const dim = dims.map((size) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: 'dimValue', value: BigInt(size) } }),
  )
  const value = create(TypeProto_TensorSchema, { elemType: type, shape: create(TensorShapeProtoSchema, { dim }) })
  return { ...input, type: create(TypeProtoSchema, { value: { case: 'tensorType', value } }) }
}

/** Whether every value still has the shape that it was read with: no node and no weight's shape is another. */
function hasShapesOf(graph: Graph, before: GraphProto): boolean {
  const weights = new Map([
    ...before.initializer.map(({ name, dims }) => [name, dims.join()] as const),
    ...before.sparseInitializer.map(({ values, dims }) => [values?.name ?? '', dims.join()] as const),
  ])
  return (
    graph.nodes.length === before.node.length &&
    graph.initializers.size === weights.size &&
    graph.nodes.every(({ source, inputs, outputs }) => source?.input === inputs && source.output === outputs) &&
    [...graph.initializers].every(([name, { dims }]) => weights.get(name) === dims.join())
  )
}

/**
 * Write a graph as ONNX. What was read beside it - producer, metadata, functions, other domains - is written back.
 * Shapes of values in between are left out where a pass has changed anything: a runtime infers them.
 */
export function writeModel(graph: Graph, { metadata = {} }: WriteOptions = {}): Uint8Array {
  const before = graph.model.graph!
  const model = clone(ModelProtoSchema, { ...graph.model, graph: undefined })
  for (const [key, value] of Object.entries(metadata)) {
    const entry = model.metadataProps.find((each) => each.key === key)
    if (entry === undefined) model.metadataProps.push(create(StringStringEntryProtoSchema, { key, value }))
    else entry.value = value
  }
  const sparse = new Map(
    [...graph.initializers].flatMap(([name, tensor]) => {
      const proto = tensor.isSparse ? toSparseProto(name, tensor) : undefined
      return proto === undefined ? [] : [[name, proto] as const]
    }),
  )
  if (sparse.size > 0 && model.irVersion < SPARSE_IR) model.irVersion = SPARSE_IR
  model.graph = create(GraphProtoSchema, {
    name: before.name,
    docString: before.docString,
    node: graph.nodes.map(toNodeProto),
    initializer: [...graph.initializers].flatMap(([name, tensor]) => (sparse.has(name) ? [] : [toProto(name, tensor)])),
    sparseInitializer: [...sparse.values()],
    input: [
      ...graph.inputs,
      // Initializers that were listed as inputs stay listed, as large as they are now; sparse ones cannot be.
      ...before.input.flatMap((input) => {
        const tensor = sparse.has(input.name) ? undefined : graph.initializers.get(input.name)
        return tensor === undefined ? [] : [withDims(input, tensor)]
      }),
    ],
    output: [...graph.outputs],
    valueInfo: hasShapesOf(graph, before) ? before.valueInfo : [],
    quantizationAnnotation: before.quantizationAnnotation,
    metadataProps: before.metadataProps,
  })
  return toBinary(ModelProtoSchema, model)
}
