import { concat, type Field, lengthDelimited, readFields, varintField } from './wire-format.ts'

/** Field numbers of onnx.proto. */
const MODEL = { graph: 7 }
const GRAPH = { node: 1, output: 12 }
const NODE = { input: 1, output: 2, opType: 4 }
const VALUE_INFO = { name: 1, type: 2 }
const TYPE = { tensor: 1 }
const TENSOR_TYPE = { elementType: 1 }
const FLOAT = 1

/** What the drawing pass does itself: bytes are not what a GPU computes with. */
const PRESENTATION = new Set(['Cast', 'Transpose', 'Round'])

export interface FloatPicture {
  /** The graph without its last steps. */
  readonly graph: Uint8Array
  /** Name of its output: float32, levels 0..255 before rounding. */
  readonly output: string
  /** Whether that is [1, 3, height, width]; otherwise [1, height, width, 3]. */
  readonly isPlanar: boolean
}

const text = (field: Field | undefined): string => new TextDecoder().decode(field?.content)
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value)

/**
 * Take the steps off a decoder's graph that make bytes of its picture, so that all that is left runs on the GPU and its
 * output stays there.
 *
 * @param graph ONNX, with the output `output`.
 * @throws {RangeError} If the bytes are no ONNX model with a graph.
 */
export function toFloatPicture(graph: Uint8Array, output: string): FloatPicture {
  const model = readFields(graph)
  const graphField = model.find(({ number }) => number === MODEL.graph)
  if (graphField?.content === undefined) throw new RangeError('Cannot cut decoder: found no graph in its model')
  const fields = readFields(graphField.content)
  const dropped = new Set<Field>()
  let name = output
  let isPlanar = false
  for (;;) {
    const field = fields.find(
      ({ number, content }) =>
        number === GRAPH.node &&
        readFields(content!).some((part) => part.number === NODE.output && text(part) === name),
    )
    if (field === undefined) break
    const node = readFields(field.content!)
    const kind = text(node.find(({ number }) => number === NODE.opType))
    if (!PRESENTATION.has(kind)) break
    if (kind === 'Transpose') isPlanar = true
    dropped.add(field)
    name = text(node.find(({ number }) => number === NODE.input))
  }
  const tensorType = lengthDelimited(TYPE.tensor, varintField(TENSOR_TYPE.elementType, FLOAT))
  const valueInfo = concat([
    lengthDelimited(VALUE_INFO.name, bytes(name)),
    lengthDelimited(VALUE_INFO.type, tensorType),
  ])
  const kept = fields.filter((field) => field.number !== GRAPH.output && !dropped.has(field))
  const cut = concat([...kept.map(({ whole }) => whole), lengthDelimited(GRAPH.output, valueInfo)])
  const parts = model.map((field) => (field === graphField ? lengthDelimited(MODEL.graph, cut) : field.whole))
  return { graph: concat(parts), output: name, isPlanar }
}
