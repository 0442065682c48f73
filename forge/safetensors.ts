import { describeError, ModelError } from '@espalier/shared/errors'
import { z } from 'zod'
import { sizeOf, type Tensor, TYPE } from './graph/tensor.ts'

/** Named tensors of floats with notes: what a .safetensors file holds. */
export interface TensorFile {
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** The format's own limit on its header. @see github.com/huggingface/safetensors README, "Format" */
const LONGEST_HEADER = 100_000_000

const TYPES = {
  F32: { type: TYPE.FLOAT, bytes: 4 },
  F16: { type: TYPE.FLOAT16, bytes: 2 },
  BF16: { type: TYPE.BFLOAT16, bytes: 2 },
} as const

type TypeName = keyof typeof TYPES

const whole = z.int().min(0)
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(whole),
  data_offsets: z.tuple([whole, whole]),
})
const headerSchema = z.record(z.string(), z.unknown())
const metadataSchema = z.record(z.string(), z.string())

const refuse = (name: string, found: string, cause?: unknown): never => {
  throw new ModelError(`Cannot read tensors "${name}": ${found}`, { cause })
}

/** The header as JSON, and where the data after it begins. */
function readHeader(bytes: Uint8Array, name: string): { header: Record<string, unknown>; start: number } {
  if (bytes.length < 8) return refuse(name, `found ${bytes.length} bytes, expected 8 of a length and a header after it`)
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  if (length > LONGEST_HEADER || Number(length) > bytes.length - 8)
    return refuse(name, `found a header of ${length} bytes, expected at most the ${bytes.length - 8} that follow`)
  const start = 8 + Number(length)
  // The format has it begin there, so that other files are told apart.
  if (bytes[8] !== 0x7b) return refuse(name, 'found no "{" at the header\'s begin, expected JSON; is it .safetensors?')
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, start))
    return { header: headerSchema.parse(JSON.parse(text)), start }
  } catch (cause) {
    return refuse(name, `found a header that is no JSON object (${describeError(cause)})`, cause)
  }
}

interface Entry {
  readonly key: string
  readonly dtype: TypeName
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

function parseEntry(key: string, value: unknown, name: string): Entry {
  const found = entrySchema.safeParse(value)
  if (!found.success) return refuse(name, `"${key}" is not described by dtype, shape and data_offsets`, found.error)
  const { dtype, shape, data_offsets: offsets } = found.data
  if (!Object.hasOwn(TYPES, dtype))
    return refuse(name, `"${key}" has dtype ${dtype}, expected ${Object.keys(TYPES).join(', ')}`)
  const [begin, end] = offsets
  const expected = sizeOf(shape) * TYPES[dtype as TypeName].bytes
  if (end - begin !== expected)
    return refuse(name, `"${key}" has ${end - begin} bytes, expected ${expected} for ${dtype} [${shape}]`)
  return { key, dtype: dtype as TypeName, shape, begin, end }
}

/**
 * Read a .safetensors file. Every byte of it belongs to one tensor: holes, overlaps and trailing bytes are refused.
 *
 * @param name For messages. @returns Tensors that share the memory of `bytes`.
 * @throws {ModelError} If it is truncated, altered, no .safetensors, or holds anything but F32, F16 and BF16.
 */
export function readSafetensors(bytes: Uint8Array, name: string): TensorFile {
  const { header, start } = readHeader(bytes, name)
  const { __metadata__: notes = {}, ...described } = header
  const metadata = metadataSchema.safeParse(notes)
  if (!metadata.success) return refuse(name, 'its __metadata__ is not text by name', metadata.error)
  const entries = Object.entries(described).map(([key, value]) => parseEntry(key, value, name))
  const data = bytes.subarray(start)
  let at = 0
  for (const { key, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) refuse(name, `"${key}" begins at ${begin}, expected ${at}, where the one before it ends`)
    at = end
  }
  if (at !== data.length) refuse(name, `its tensors end at ${at}, expected at its end, ${data.length}`)
  return {
    metadata: metadata.data,
    tensors: new Map(
      entries.map(({ key, dtype, shape, begin, end }) => [
        key,
        { type: TYPES[dtype].type, dims: shape, data: data.subarray(begin, end) },
      ]),
    ),
  }
}

function typeNameOf({ type }: Tensor, key: string): TypeName {
  const found = Object.entries(TYPES).find(([, each]) => each.type === type)
  if (found === undefined)
    throw new ModelError(`Cannot write tensor "${key}": found element type ${type}, expected float32 or float16`)
  return found[0] as TypeName
}

/** Write a .safetensors file: wide types first, so that all lie aligned. @throws {ModelError} If a type has no name there. */
export function writeSafetensors({ metadata, tensors }: TensorFile): Uint8Array {
  const described = [...tensors].map(([key, tensor]) => ({ key, tensor, dtype: typeNameOf(tensor, key) }))
  const ordered = described.sort((a, b) => TYPES[b.dtype].bytes - TYPES[a.dtype].bytes)
  const header: Record<string, unknown> = { __metadata__: metadata }
  let size = 0
  for (const { key, tensor, dtype } of ordered) {
    header[key] = { dtype, shape: tensor.dims, data_offsets: [size, size + tensor.data.length] }
    size += tensor.data.length
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const start = 8 + Math.ceil(json.length / 8) * 8
  const bytes = new Uint8Array(start + size).fill(0x20, 0, start)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true)
  bytes.set(json, 8)
  let at = start
  for (const { tensor } of ordered) {
    bytes.set(tensor.data, at)
    at += tensor.data.length
  }
  return bytes
}
