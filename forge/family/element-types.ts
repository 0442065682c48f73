import type { ElementType } from '@espalier/shared/manifest/classifier-manifest'
import type { TensorProto_DataType } from '../graph/onnx_pb.ts'
import { TYPE } from '../graph/tensor.ts'

/** ONNX's numbers of element types -> what manifests call them. */
export const ELEMENT_TYPES: ReadonlyMap<TensorProto_DataType, ElementType> = new Map([
  [TYPE.FLOAT, 'float32'],
  [TYPE.DOUBLE, 'float64'],
  [TYPE.FLOAT16, 'float16'],
  [TYPE.BFLOAT16, 'bfloat16'],
  [TYPE.INT8, 'int8'],
  [TYPE.INT16, 'int16'],
  [TYPE.INT32, 'int32'],
  [TYPE.INT64, 'int64'],
  [TYPE.UINT8, 'uint8'],
  [TYPE.UINT16, 'uint16'],
  [TYPE.UINT32, 'uint32'],
  [TYPE.UINT64, 'uint64'],
  [TYPE.BOOL, 'bool'],
])
