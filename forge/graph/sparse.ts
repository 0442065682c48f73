import { create } from '@bufbuild/protobuf'
import { ModelError } from '@espalier/shared/errors'
import { type SparseTensorProto, SparseTensorProtoSchema } from './onnx_pb.ts'
import { int64Tensor, integersOf, sizeOf, type Tensor, toProto, toTensor } from './tensor.ts'

/** An index of a number that is not zero: int64, the only type that ONNX allows here. */
const INDEX_BYTES = 8
/** Names, shapes and tags of the two tensors that a sparse one is. */
const OVERHEAD_BYTES = 64

const widthOf = ({ dims, data }: Tensor): number => data.length / sizeOf(dims)

/** Places in C order whose bytes are not all zero; minus zero stays. */
function placesOf(tensor: Tensor): number[] {
  const width = widthOf(tensor)
  const { data } = tensor
  const places: number[] = []
  for (let i = 0; i < data.length; i++) {
    if (data[i] === 0) continue
    places.push(Math.floor(i / width))
    i += width - 1 - (i % width)
  }
  return places
}

/** Whether coordinates and values take fewer bytes than all values do: with float32 below a third of them. */
function isSmaller(tensor: Tensor, name: string, count: number): boolean {
  return count * (widthOf(tensor) + INDEX_BYTES) + OVERHEAD_BYTES + name.length < tensor.data.length
}

/** A tensor as the coordinates and values of what is not zero; undefined where that is no smaller. */
export function toSparseProto(name: string, tensor: Tensor): SparseTensorProto | undefined {
  const { type, dims, data } = tensor
  if (data.length === 0) return undefined
  const places = placesOf(tensor)
  if (!isSmaller(tensor, name, places.length)) return undefined
  const width = widthOf(tensor)
  const values = new Uint8Array(places.length * width)
  for (const [i, place] of places.entries()) values.set(data.subarray(place * width, (place + 1) * width), i * width)
  return create(SparseTensorProtoSchema, {
    values: toProto(name, { type, dims: [places.length], data: values }),
    indices: toProto('', int64Tensor(places)),
    dims: dims.map(BigInt),
  })
}

/** Largest tensor that is filled in: a few bytes must not claim all memory. */
const MAX_BYTES = 2 ** 30

/**
 * The tensor with its zeros filled in, which remembers that it was stored without them.
 *
 * @throws {ModelError} If its coordinates do not fit its shape, or it is larger than a GiB.
 */
export function fromSparseProto({ values, indices, dims: wide }: SparseTensorProto): Tensor {
  const name = values?.name ?? ''
  const refuse = (found: string, expected: string): never => {
    throw new ModelError(`Cannot read sparse tensor "${name}": found ${found}, expected ${expected}`)
  }
  if (values === undefined || indices === undefined) return refuse('no values or no indices', 'both')
  const dims = wide.map(Number)
  const [kept, places] = [toTensor(values), toTensor(indices)]
  const count = sizeOf(kept.dims)
  const width = count === 0 ? 1 : widthOf(kept)
  const size = sizeOf(dims)
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0) || size * width > MAX_BYTES)
    return refuse(`shape ${dims.join(' x ')}`, `at most ${MAX_BYTES} bytes`)
  const listed = integersOf(places, `${name}, indices`)
  const isFlat = places.dims.length === 1
  if (listed.length !== count * (isFlat ? 1 : dims.length))
    return refuse(`${listed.length} indices`, `${count} for ${count} values`)
  const data = new Uint8Array(size * width)
  for (let i = 0; i < count; i++) {
    const at = isFlat ? listed[i]! : dims.reduce((sum, dim, axis) => sum * dim + listed[i * dims.length + axis]!, 0)
    if (!(at >= 0 && at < size)) return refuse(`a value at ${at}`, `0 to ${size - 1}`)
    data.set(kept.data.subarray(i * width, (i + 1) * width), at * width)
  }
  return { type: kept.type, dims, data, isSparse: true }
}
