import { create, toBinary } from '@bufbuild/protobuf'
import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from '@espalier/forge/graph/attributes'
import type { Graph } from '@espalier/forge/graph/graph'
import {
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  ValueInfoProtoSchema,
} from '@espalier/forge/graph/onnx_pb'
import { readModel } from '@espalier/forge/graph/read'
import { floatTensor, type Tensor, toProto } from '@espalier/forge/graph/tensor'

export interface NodeSpec {
  readonly op: string
  readonly name?: string
  readonly domain?: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Whole numbers, lists of them, text; `{ float }` for a float. */
  readonly attributes?: Readonly<Record<string, number | readonly number[] | string | { readonly float: number }>>
}

export interface GraphSpec {
  readonly nodes: readonly NodeSpec[]
  readonly weights?: Readonly<Record<string, Tensor>>
  /** A negative dimension is one that the model leaves open. */
  readonly inputs: Readonly<Record<string, readonly number[]>>
  /** Of inputs that are not float32, by ONNX's numbers. */
  readonly types?: Readonly<Record<string, number>>
  readonly outputs: readonly string[]
  readonly opset?: number
}

const tensorType = (dims: readonly number[], elemType: number) => ({
  value: {
    case: 'tensorType' as const,
    value: {
      elemType,
      shape: {
        dim: dims.map((dim, i) => ({
          value:
            dim < 0 ? { case: 'dimParam' as const, value: `d${i}` } : { case: 'dimValue' as const, value: BigInt(dim) },
        })),
      },
    },
  },
})

/** A model file, as an exporter would write it. */
export function buildModel({ nodes, weights = {}, inputs, types = {}, outputs, opset = 17 }: GraphSpec): Uint8Array {
  const model = create(ModelProtoSchema, {
    irVersion: 8n,
    producerName: 'test',
    opsetImport: [create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(opset) })],
    graph: create(GraphProtoSchema, {
      name: 'graph',
      node: nodes.map(({ op, name = '', domain = '', inputs: from, outputs: to, attributes = {} }) =>
        create(NodeProtoSchema, {
          opType: op,
          name,
          domain,
          input: [...from],
          output: [...to],
          attribute: Object.entries(attributes).map(([key, value]) => {
            if (typeof value === 'number') return intAttribute(key, value)
            if (typeof value === 'string') return stringAttribute(key, value)
            return 'float' in value ? floatAttribute(key, value.float) : intsAttribute(key, value)
          }),
        }),
      ),
      initializer: Object.entries(weights).map(([name, tensor]) => toProto(name, tensor)),
      input: Object.entries(inputs).map(([name, dims]) =>
        create(ValueInfoProtoSchema, { name, type: tensorType(dims, types[name] ?? 1) as never }),
      ),
      output: outputs.map((name) => create(ValueInfoProtoSchema, { name })),
    }),
  })
  return toBinary(ModelProtoSchema, model)
}

export const buildGraph = (spec: GraphSpec): Graph => readModel(buildModel(spec), 'test')

/** Numbers in [-1, 1] that are the same for the same seed. */
export function randomTensor(dims: readonly number[], seed: number): Tensor {
  let state = (seed * 2654435761 + 12345) >>> 0 || 1
  const size = dims.reduce((a, b) => a * b, 1)
  const values = Float32Array.from({ length: size }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 31 - 1
  })
  return floatTensor(values, dims)
}
