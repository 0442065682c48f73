import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Digest } from '@espalier/shared/ids'
import type { ElementType } from '@espalier/shared/manifest/classifier-manifest'
import type { Graph } from '../graph/graph.ts'
import {
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  type TensorProto_DataType,
  TensorProtoSchema,
} from '../graph/onnx_pb.ts'
import { writeModel } from '../graph/write.ts'
import { digestOf } from './digest.ts'
import { ELEMENT_TYPES } from './element-types.ts'

/** Smaller tensors stay in the graph: naming them elsewhere would take more, and shapes are read before data is. */
export const MIN_TENSOR_BYTES = 256
/** From this version of ONNX's format on, a constant need not be listed among the inputs. */
const FIRST_IR_OF_CONSTANTS = 4n

export interface StoredTensor {
  readonly sha256: Digest
  readonly dtype: ElementType
  readonly shape: readonly number[]
  readonly data: Uint8Array
}

export interface SplitGraph {
  /** An ONNX model whose large tensors lie elsewhere, each at the location that is its SHA-256. */
  readonly bytes: Uint8Array
  /** By the name that the graph gives them. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/** Weights that are listed as inputs could be changed by a feed, so that no runtime may fuse them. */
function withConstantWeights(graph: Graph): Graph {
  const { model } = graph
  const irVersion = model.irVersion < FIRST_IR_OF_CONSTANTS ? FIRST_IR_OF_CONSTANTS : model.irVersion
  return { ...graph, model: { ...model, irVersion, graph: { ...model.graph!, input: [...graph.inputs] } } }
}

function referTo({ name, dims, dataType, rawData }: TensorProto, sha256: Digest): TensorProto {
  const fields = { location: sha256, offset: '0', length: String(rawData.length) }
  return create(TensorProtoSchema, {
    name,
    dims,
    dataType,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(fields).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
  })
}

/** Take the large tensors out of a graph. Those of inner graphs stay where they are. */
export function splitTensors(graph: Graph): SplitGraph {
  const model = fromBinary(ModelProtoSchema, writeModel(withConstantWeights(graph)))
  const tensors = new Map<string, StoredTensor>()
  model.graph!.initializer = model.graph!.initializer.map((proto) => {
    const dtype = ELEMENT_TYPES.get(proto.dataType as TensorProto_DataType)
    if (dtype === undefined || proto.rawData.length < MIN_TENSOR_BYTES) return proto
    const sha256 = digestOf(proto.rawData)
    tensors.set(proto.name, { sha256, dtype, shape: proto.dims.map(Number), data: proto.rawData })
    return referTo(proto, sha256)
  })
  return { bytes: toBinary(ModelProtoSchema, model), tensors }
}
