import type { WeightTensor } from '../codec/weights.ts'
import { ModelError } from '../errors.ts'

// Fields of onnx.proto that are touched here; all else is copied as it stands.
const MODEL_GRAPH = 7
const GRAPH_INITIALIZER = 5
const GRAPH_INPUT = 11
const VALUE_NAME = 1
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 } as const
const FLOAT32 = 1

const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5]

interface Field {
  readonly number: number
  /** Key and value as they stand. */
  readonly whole: Uint8Array
  /** What a length-delimited field holds. */
  readonly content: Uint8Array | undefined
}

/** The fields of a protobuf message, one after the other. */
function* readFields(message: Uint8Array): Generator<Field> {
  let at = 0
  const readVarint = (): number => {
    let [value, factor] = [0, 1]
    for (;;) {
      const byte = message[at++]
      if (byte === undefined)
        throw new ModelError(`Cannot read graph: it ends at byte ${message.length} within a field`)
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
      factor *= 128
    }
  }
  while (at < message.length) {
    const start = at
    const key = readVarint()
    const [number, kind] = [Math.floor(key / 8), key % 8]
    let content: Uint8Array | undefined
    if (kind === VARINT) readVarint()
    else if (kind === FIXED64) at += 8
    else if (kind === FIXED32) at += 4
    else if (kind === BYTES) {
      const length = readVarint()
      content = message.subarray(at, at + length)
      at += length
    } else throw new ModelError(`Cannot read graph: found wire type ${kind} at byte ${start}`)
    if (at > message.length) throw new ModelError(`Cannot read graph: it ends at byte ${message.length} within a field`)
    yield { number, whole: message.subarray(start, at), content }
  }
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80)
  return [...bytes, value]
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

function delimited(number: number, content: Uint8Array): Uint8Array {
  return concat([Uint8Array.from([...varint(number * 8 + BYTES), ...varint(content.length)]), content])
}

function tensorOf(name: string, { shape, values }: WeightTensor): Uint8Array {
  const head = [...shape.flatMap((size) => [TENSOR.dims * 8, ...varint(size)]), TENSOR.dataType * 8, FLOAT32]
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return concat([
    Uint8Array.from(head),
    delimited(TENSOR.name, new TextEncoder().encode(name)),
    delimited(TENSOR.rawData, bytes),
  ])
}

const nameOf = (value: Uint8Array): string => {
  for (const { number, content } of readFields(value))
    if (number === VALUE_NAME && content !== undefined) return new TextDecoder().decode(content)
  return ''
}

/**
 * Make inputs of an ONNX graph into constants. Runtimes lay constants out for their kernels beforehand, inputs they
 * take as they come: measured in docs/results/swap.md.
 *
 * @param model Serialised ModelProto; not modified.
 * @param weights Input name -> value, float32. Inputs that are not named stay inputs.
 * @returns A new serialised ModelProto.
 * @throws {ModelError} If the bytes are no protobuf message.
 */
export function bakeWeights(model: Uint8Array, weights: ReadonlyMap<string, WeightTensor>): Uint8Array {
  const bakeGraph = (graph: Uint8Array): Uint8Array => {
    const kept = [...readFields(graph)].filter(
      ({ number, content }) => number !== GRAPH_INPUT || content === undefined || !weights.has(nameOf(content)),
    )
    const constants = [...weights].map(([name, weight]) => delimited(GRAPH_INITIALIZER, tensorOf(name, weight)))
    return concat([...kept.map(({ whole }) => whole), ...constants])
  }
  return concat(
    [...readFields(model)].map(({ number, whole, content }) =>
      number === MODEL_GRAPH && content !== undefined ? delimited(MODEL_GRAPH, bakeGraph(content)) : whole,
    ),
  )
}
