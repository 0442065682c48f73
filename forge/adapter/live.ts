import { create } from '@bufbuild/protobuf'
import { floatOf, intAttribute, intOf, intsAttribute } from '../graph/attributes.ts'
import { freshName, type Graph, type Node } from '../graph/graph.ts'
import { type AttributeProto, type TensorProto_DataType, ValueInfoProtoSchema } from '../graph/onnx_pb.ts'
import { rewrite } from '../graph/rewrite.ts'
import { floatTensor, type Tensor, TYPE } from '../graph/tensor.ts'
import type { Layer } from './layers.ts'
import { layersByPair } from './merge.ts'
import type { Adapter, Pair } from './pair.ts'

export interface LiveGraph {
  readonly graph: Graph
  /** The name of the input that takes alpha, a float32 [1]; undefined where alpha is a constant. */
  readonly alphaInput: string | undefined
}

const makeNode = (
  name: string,
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: readonly AttributeProto[] = [],
): Node => ({
  name,
  opType,
  domain: '',
  inputs,
  outputs: [output],
  attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
})

const alphaInfo = (name: string) =>
  create(ValueInfoProtoSchema, {
    name,
    docString: 'Scale of the adapter: 0 is the base.',
    type: {
      value: {
        case: 'tensorType',
        value: { elemType: TYPE.FLOAT, shape: { dim: [{ value: { case: 'dimValue', value: 1n } }] } },
      },
    },
  })

/** down as a layer of its own: [inputs, rank] of a matrix; of a convolution once for each group, with its kernel. */
function downTensor({ down, rank, inputs }: Pair, { kind, group, type }: Layer, dims: readonly number[]): Tensor {
  if (kind === 'matrix') {
    const turned = Float64Array.from(
      { length: down.length },
      (_, at) => down[(at % rank) * inputs + Math.floor(at / rank)]!,
    )
    return floatTensor(turned, [inputs, rank], type)
  }
  const tiled = new Float64Array(group * down.length)
  for (let g = 0; g < group; g++) tiled.set(down, g * down.length)
  return floatTensor(tiled, [group * rank, ...dims.slice(1)], type)
}

/** up times a constant: [rank, outputs] of a matrix, [outputs, rank, 1, 1] of a convolution. */
function upTensor({ up, rank, outputs }: Pair, { kind, type }: Layer, dims: readonly number[], scale: number): Tensor {
  if (kind === 'conv')
    return floatTensor(
      up.map((value) => scale * value),
      [outputs, rank, ...dims.slice(2).map(() => 1)],
      type,
    )
  const turned = Float64Array.from(
    { length: up.length },
    (_, at) => scale * up[(at % outputs) * rank + Math.floor(at / outputs)]!,
  )
  return floatTensor(turned, [rank, outputs], type)
}

/** Where the inserted values and constants get their names. */
class Names {
  readonly #graph: Graph
  readonly #taken = new Map<string, unknown>()

  constructor(graph: Graph) {
    this.#graph = graph
  }

  fresh(wanted: string): string {
    const name = freshName(this.#graph, wanted, this.#taken)
    this.#taken.set(name, wanted)
    return name
  }
}

interface Parts {
  readonly down: string
  readonly up: string
  /** Zeros [rank], that a Gemm adds. */
  readonly zeros: string
  /** Undefined where alpha is in `up` already. */
  readonly alpha: string | undefined
}

/** The layer with its branch: base + up(alpha * down(x)). The sum keeps the name that the layer's output had. */
function branch({ node, kind, group }: Layer, dims: readonly number[], parts: Parts, names: Names): Node[] {
  const [output] = node.outputs as [string]
  const [input] = node.inputs as [string]
  const title = node.name || output
  const [base, low, scaled, update] = ['base', 'down', 'alpha', 'up'].map((part) =>
    names.fresh(`${output}.adapter_${part}`),
  ) as [string, string, string, string]
  const named = (part: string): string => `${title}.adapter_${part}`
  const isPlain = intOf(node, 'transA', 0) === 0 && floatOf(node, 'alpha', 1) === 1
  const gemmKeys = ['transA', 'alpha'].flatMap((key) => node.attributes.get(key) ?? [])
  const down =
    kind === 'conv'
      ? makeNode(named('down'), 'Conv', [input, parts.down], low, [...node.attributes.values()])
      : isPlain
        ? makeNode(named('down'), 'MatMul', [input, parts.down], low)
        : makeNode(named('down'), 'Gemm', [input, parts.down, parts.zeros], low, gemmKeys)
  const from = parts.alpha === undefined ? low : scaled
  const ones = dims.slice(2).map(() => 1)
  const up =
    kind === 'conv'
      ? makeNode(named('up'), 'Conv', [from, parts.up], update, [
          intAttribute('group', group),
          intsAttribute('kernel_shape', ones),
        ])
      : makeNode(named('up'), 'MatMul', [from, parts.up], update)
  return [
    { ...node, outputs: [base] },
    down,
    // On the few values in between, not on the many after.
    ...(parts.alpha === undefined ? [] : [makeNode(named('alpha'), 'Mul', [low, parts.alpha], scaled)]),
    up,
    makeNode(named('sum'), 'Add', [base, update], output),
  ]
}

/**
 * Compute an adapter beside the layers whose weights it updates, with no weight changed: for graphs whose weights
 * cannot be, and for an alpha that changes from one run to the next.
 *
 * @param alpha A constant, or "input" for a float32 input [1] of the graph by the name "alpha".
 * @throws {ModelError} As `layersByPair`.
 */
export function liveAdapter(graph: Graph, adapter: Adapter, alpha: number | 'input'): LiveGraph {
  const names = new Names(graph)
  const alphaInput = alpha === 'input' && adapter.length > 0 ? names.fresh('alpha') : undefined
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  const casts = new Map<TensorProto_DataType, Node>()
  const alphaAs = (type: TensorProto_DataType): string | undefined => {
    if (alphaInput === undefined || type === TYPE.FLOAT) return alphaInput
    const cast =
      casts.get(type) ??
      makeNode('alpha.cast', 'Cast', [alphaInput], names.fresh('alpha.cast'), [intAttribute('to', type)])
    casts.set(type, cast)
    return cast.outputs[0]
  }
  const put = (name: string, tensor: Tensor): string => {
    const fresh = names.fresh(name)
    initializers.set(fresh, tensor)
    return fresh
  }
  for (const [pair, layers] of layersByPair(graph, adapter)) {
    const { dims } = graph.initializers.get(pair.weight)!
    const [first] = layers as [Layer]
    const parts: Parts = {
      down: put(`${pair.weight}.adapter_down`, downTensor(pair, first, dims)),
      up: put(`${pair.weight}.adapter_up`, upTensor(pair, first, dims, alpha === 'input' ? 1 : alpha)),
      zeros: put(`${pair.weight}.adapter_zeros`, floatTensor(new Float64Array(pair.rank), [pair.rank], first.type)),
      alpha: alphaAs(first.type),
    }
    for (const layer of layers) nodes.set(layer.node, branch(layer, dims, parts, names))
  }
  const made = rewrite(graph, { nodes, initializers })
  return {
    graph: {
      ...made,
      nodes: [...casts.values(), ...made.nodes],
      inputs: alphaInput === undefined ? graph.inputs : [...graph.inputs, alphaInfo(alphaInput)],
    },
    alphaInput,
  }
}
