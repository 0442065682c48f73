import { intOf } from '../graph/attributes.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import type { TensorProto_DataType } from '../graph/onnx_pb.ts'
import { floatsOf, floatTensor, sizeOf, type Tensor, TYPE } from '../graph/tensor.ts'

/** A node that multiplies by a constant weight, which a pair can update. */
export interface Layer {
  readonly node: Node
  /** The name of the initializer; a Cast of it may stand between. */
  readonly weight: string
  readonly kind: 'matrix' | 'conv'
  readonly outputs: number
  /** Of a convolution: the inputs of one group times the places of its kernel. */
  readonly inputs: number
  /** The weight is stored as [inputs, outputs]. */
  readonly isTurned: boolean
  readonly group: number
  /** What it computes in, which a Cast makes other than the weight's own. */
  readonly type: TensorProto_DataType
}

const TYPES: ReadonlySet<TensorProto_DataType> = new Set([TYPE.FLOAT, TYPE.FLOAT16, TYPE.DOUBLE])

interface Source {
  readonly weight: string
  readonly tensor: Tensor
  readonly type: TensorProto_DataType
}

/** Where a node's weight comes from: an initializer, or the Cast of one. */
function sourceOf(graph: Graph, wiring: Wiring, value: string): Source | undefined {
  const own = graph.initializers.get(value)
  if (own !== undefined) return TYPES.has(own.type) ? { weight: value, tensor: own, type: own.type } : undefined
  const cast = wiring.producerOf(value)
  if (cast?.opType !== 'Cast' || cast.domain !== '') return undefined
  const [weight] = cast.inputs as [string]
  const tensor = graph.initializers.get(weight)
  const type = intOf(cast, 'to', 0) as TensorProto_DataType
  const isAlone = wiring.onlyConsumerOf(weight) === cast && !wiring.isOutput(value)
  return tensor !== undefined && TYPES.has(tensor.type) && TYPES.has(type) && isAlone
    ? { weight, tensor, type }
    : undefined
}

function layerOf(graph: Graph, wiring: Wiring, node: Node): Layer | undefined {
  if (node.domain !== '' || node.inputs.length < 2) return undefined
  const source = sourceOf(graph, wiring, node.inputs[1]!)
  if (source === undefined) return undefined
  const { weight, type, tensor } = source
  const { dims } = tensor
  const [a, b] = dims as [number, number]
  switch (node.opType) {
    case 'Conv':
      if (dims.length < 3) return undefined
      return {
        node,
        weight,
        type,
        kind: 'conv',
        outputs: a,
        inputs: sizeOf(dims.slice(1)),
        isTurned: false,
        group: intOf(node, 'group', 1),
      }
    case 'MatMul':
    case 'Gemm': {
      if (dims.length !== 2) return undefined
      const isTurned = node.opType === 'MatMul' || intOf(node, 'transB', 0) === 0
      const [outputs, inputs] = isTurned ? [b, a] : [a, b]
      return { node, weight, type, kind: 'matrix', outputs, inputs, isTurned, group: 1 }
    }
    default:
      return undefined
  }
}

/**
 * The layers whose weights a pair can update: MatMul and Gemm by a constant matrix, Conv. Weights that another kind
 * of node reads too are left out, as an embedding that is also the last layer: an update meant for one would change both.
 */
export function findLayers(graph: Graph): Layer[] {
  const wiring = new Wiring(graph)
  const found = graph.nodes.flatMap((node) => layerOf(graph, wiring, node) ?? [])
  const byNode = new Map(found.map((layer) => [layer.node, layer]))
  return found.filter((layer) =>
    wiring.consumersOf(layer.node.inputs[1]!).every((reader) => {
      const other = byNode.get(reader)
      return (['weight', 'kind', 'isTurned', 'group', 'type'] as const).every((key) => other?.[key] === layer[key])
    }),
  )
}

/** Swap the axes of a matrix [rows, columns]. */
function turn(values: Float64Array, rows: number, columns: number): Float64Array {
  const turned = new Float64Array(values.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) turned[c * rows + r] = values[r * columns + c]!
  return turned
}

/** A layer's weight as [outputs, inputs]. */
export function matrixOf(graph: Graph, { weight, isTurned, outputs, inputs }: Layer): Float64Array {
  const values = floatsOf(graph.initializers.get(weight)!, weight)
  return isTurned ? turn(values, inputs, outputs) : values
}

/** The inverse of `matrixOf`: stored as the layer has it, rounded once to the type given. */
export function storeMatrix(
  matrix: Float64Array,
  { isTurned, outputs, inputs }: Layer,
  { dims, type }: Pick<Tensor, 'dims' | 'type'>,
): Tensor {
  return floatTensor(isTurned ? turn(matrix, outputs, inputs) : matrix, dims, type)
}
