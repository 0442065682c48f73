import { create } from '@bufbuild/protobuf'
import { ModelError } from '@espalier/shared/errors'
import { type TensorProto, TensorProto_DataLocation, TensorProto_DataType, TensorProtoSchema } from './onnx_pb.ts'

/** Element types by ONNX's numbers. */
export const TYPE = TensorProto_DataType

/** Constant numbers in C order. `data` is little-endian, as ONNX stores it raw, and belongs to nobody: never write into it. */
export interface Tensor {
  readonly type: TensorProto_DataType
  readonly dims: readonly number[]
  readonly data: Uint8Array
  /** Stored without its zeros, wherever that is smaller (`toSparseProto`); `data` holds them all. */
  readonly isSparse?: boolean
}

const BYTES: Readonly<Partial<Record<TensorProto_DataType, number>>> = {
  [TYPE.FLOAT]: 4,
  [TYPE.UINT8]: 1,
  [TYPE.INT8]: 1,
  [TYPE.UINT16]: 2,
  [TYPE.INT16]: 2,
  [TYPE.INT32]: 4,
  [TYPE.INT64]: 8,
  [TYPE.BOOL]: 1,
  [TYPE.FLOAT16]: 2,
  [TYPE.DOUBLE]: 8,
  [TYPE.UINT32]: 4,
  [TYPE.UINT64]: 8,
  [TYPE.BFLOAT16]: 2,
}

export const typeName = (type: number): string =>
  Object.entries(TYPE).find(([, value]) => value === type)?.[0] ?? `${type}`

export const sizeOf = (dims: readonly number[]): number => dims.reduce((size, dim) => size * dim, 1)

const toBytes = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength))

/** Reads the bytes of a tensor that lie in a file beside the model. */
export type ReadExternal = (location: string, offset: number, length: number | undefined) => Uint8Array

function fieldsToBytes(proto: TensorProto): Uint8Array {
  switch (proto.dataType) {
    case TYPE.FLOAT:
      return toBytes(Float32Array.from(proto.floatData))
    case TYPE.DOUBLE:
      return toBytes(Float64Array.from(proto.doubleData))
    case TYPE.INT64:
      return toBytes(BigInt64Array.from(proto.int64Data))
    case TYPE.UINT64:
      return toBytes(BigUint64Array.from(proto.uint64Data))
    case TYPE.UINT32:
      return toBytes(Uint32Array.from(proto.uint64Data, Number))
    case TYPE.INT32:
      return toBytes(Int32Array.from(proto.int32Data))
    case TYPE.FLOAT16:
    case TYPE.BFLOAT16:
    case TYPE.UINT16:
      return toBytes(Uint16Array.from(proto.int32Data))
    case TYPE.INT16:
      return toBytes(Int16Array.from(proto.int32Data))
    default:
      return Uint8Array.from(proto.int32Data)
  }
}

/** @throws {ModelError} If the tensor is of a type that is not read, or its bytes do not fit its shape. */
export function toTensor(proto: TensorProto, readExternal?: ReadExternal): Tensor {
  const dims = proto.dims.map(Number)
  if (dims.some((dim) => !Number.isSafeInteger(dim) || dim < 0))
    throw new ModelError(`Cannot read tensor "${proto.name}": found shape ${dims.join(' x ')}, expected sizes from 0`)
  const bytesEach = BYTES[proto.dataType as TensorProto_DataType]
  if (bytesEach === undefined)
    throw new ModelError(
      `Cannot read tensor "${proto.name}": element type ${typeName(proto.dataType)} is not supported`,
    )
  const expected = sizeOf(dims) * bytesEach
  let data: Uint8Array
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL) {
    const entries = new Map(proto.externalData.map(({ key, value }) => [key, value]))
    const location = entries.get('location') ?? ''
    if (readExternal === undefined)
      throw new ModelError(`Cannot read tensor "${proto.name}": its data lies in "${location}", which was not given`)
    const [offset, length] = [entries.get('offset') ?? '0', entries.get('length') ?? `${expected}`]
    if (![offset, length].every((text) => /^\d{1,15}$/.test(text)))
      throw new ModelError(
        `Cannot read tensor "${proto.name}": found offset "${offset}" and length "${length}", expected whole numbers`,
      )
    data = readExternal(location, Number(offset), Number(length))
  } else {
    data = proto.rawData.length > 0 ? proto.rawData : fieldsToBytes(proto)
  }
  if (data.length !== expected)
    throw new ModelError(
      `Cannot read tensor "${proto.name}": found ${data.length} bytes, expected ${expected} for ${dims.join(' x ')}`,
    )
  return { type: proto.dataType as TensorProto_DataType, dims, data }
}

export function toProto(name: string, { type, dims, data }: Tensor): TensorProto {
  return create(TensorProtoSchema, { name, dataType: type, dims: dims.map(BigInt), rawData: data })
}

/** IEEE half to single. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** A number to IEEE half, to nearest, ties to even. */
export function toHalf(value: number): number {
  const single = new Float32Array([value])
  const bits = new Uint32Array(single.buffer)[0]!
  const sign = (bits >>> 16) & 0x8000
  // Of the value itself: by way of a single it would be rounded twice.
  const magnitude = Math.abs(value)
  if (Number.isNaN(magnitude)) return sign | 0x7e00
  if (magnitude >= 65520) return sign | 0x7c00
  // Steps of 2^-24 below the smallest normal, else eleven bits of it.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -30)))
  const step = 2 ** (exponent - 10)
  const scaled = magnitude / step
  const floor = Math.floor(scaled)
  const rest = scaled - floor
  const count = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
  return sign | (count + (exponent === -14 ? 0 : (exponent + 14) << 10))
}

/** A typed array on a copy, because the bytes need not be aligned. */
const aligned = (data: Uint8Array): ArrayBuffer => new Uint8Array(data).buffer

export const isFloat = ({ type }: Tensor): boolean =>
  type === TYPE.FLOAT || type === TYPE.DOUBLE || type === TYPE.FLOAT16 || type === TYPE.BFLOAT16

/** The values of a tensor of floats, whatever their width. @throws {ModelError} If they are none. */
export function floatsOf(tensor: Tensor, name: string): Float64Array {
  const { type, data } = tensor
  if (type === TYPE.FLOAT) return Float64Array.from(new Float32Array(aligned(data)))
  if (type === TYPE.DOUBLE) return new Float64Array(aligned(data))
  if (type === TYPE.FLOAT16) return Float64Array.from(new Uint16Array(aligned(data)), fromHalf)
  if (type === TYPE.BFLOAT16) {
    const wide = Uint32Array.from(new Uint16Array(aligned(data)), (bits) => bits << 16)
    return Float64Array.from(new Float32Array(wide.buffer))
  }
  throw new ModelError(`Cannot read "${name}" as floats: its element type is ${typeName(type)}`)
}

/** The values of a tensor of whole numbers. @throws {ModelError} If they are none. */
export function integersOf(tensor: Tensor, name: string): number[] {
  const { type, data } = tensor
  if (type === TYPE.INT64) return Array.from(new BigInt64Array(aligned(data)), Number)
  if (type === TYPE.INT32) return Array.from(new Int32Array(aligned(data)))
  throw new ModelError(`Cannot read "${name}" as whole numbers: its element type is ${type}`)
}

/** Floats rounded once, to the type that `like` has. */
export function floatTensor(
  values: ArrayLike<number>,
  dims: readonly number[],
  like: TensorProto_DataType = TYPE.FLOAT,
): Tensor {
  const array =
    like === TYPE.FLOAT16
      ? Uint16Array.from(values, toHalf)
      : like === TYPE.DOUBLE
        ? Float64Array.from(values)
        : Float32Array.from(values)
  return { type: like === TYPE.FLOAT16 || like === TYPE.DOUBLE ? like : TYPE.FLOAT, dims, data: toBytes(array) }
}

export function int64Tensor(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return { type: TYPE.INT64, dims, data: toBytes(BigInt64Array.from(values, BigInt)) }
}
