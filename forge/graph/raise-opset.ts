import { ModelError } from '@espalier/shared/errors'
import { describeNode, floatOf, intOf, intsOf } from './attributes.ts'
import type { Shapes } from './cost.ts'
import { freshName, type Graph, type Node } from './graph.ts'
import { floatTensor, int64Tensor, type Tensor } from './tensor.ts'

/** Operators that mean the same in every opset from 7 to 17; @see onnx docs/Changelog.md. */
const UNCHANGED: ReadonlySet<string> = new Set([
  ...['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization', 'InstanceNormalization', 'LRN'],
  ...['Relu', 'LeakyRelu', 'PRelu', 'Elu', 'Selu', 'Celu', 'Sigmoid', 'HardSigmoid', 'HardSwish', 'Tanh', 'Softplus'],
  ...['Softsign', 'Exp', 'Log', 'Sqrt', 'Reciprocal', 'Abs', 'Neg', 'Floor', 'Ceil', 'Round', 'Erf', 'Sign'],
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Min', 'Max', 'Sum', 'Equal', 'Greater', 'Less', 'Not', 'And', 'Or', 'Where'],
  ...['Concat', 'Flatten', 'Reshape', 'Transpose', 'Identity', 'Constant', 'ConstantOfShape', 'Shape', 'Gather'],
  ...['Expand', 'Tile', 'Cast', 'MaxPool', 'AveragePool', 'LpPool', 'GlobalAveragePool', 'GlobalMaxPool', 'ArgMax'],
  ...['ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceL1', 'ReduceL2', 'ReduceProd', 'DepthToSpace', 'SpaceToDepth'],
  ...['LayerNormalization', 'DynamicQuantizeLinear', 'MatMulInteger', 'ConvInteger', 'GatherElements'],
])

/** Newest opset that is raised to: in 18 reductions take their axes otherwise. */
const NEWEST = 17
/** The format's version that came with opset 17. */
const IR = 8n

interface Raised {
  readonly node: Node
  readonly initializers: ReadonlyMap<string, Tensor>
}

type Put = (suffix: string, tensor: Tensor) => string

const without = ({ attributes }: Node, ...keys: string[]): Node['attributes'] =>
  new Map([...attributes].filter(([key]) => !keys.includes(key)))

/** Operators whose attributes became inputs: the opset in which they did, and the node as it is since. */
const MOVED: Readonly<Record<string, readonly [since: number, raise: (node: Node, put: Put) => Node]>> = {
  Clip: [
    11,
    (node, put) => {
      const bound = (key: string): string =>
        node.attributes.has(key) ? put(key, floatTensor([floatOf(node, key, 0)], [])) : ''
      const [low, high] = [bound('min'), bound('max')]
      const bounds = high !== '' ? [low, high] : low !== '' ? [low] : []
      return { ...node, inputs: [node.inputs[0]!, ...bounds], attributes: without(node, 'min', 'max') }
    },
  ],
  // At inference it does nothing, whatever its ratio.
  Dropout: [12, (node) => ({ ...node, inputs: [node.inputs[0]!], attributes: without(node, 'ratio') })],
  ...Object.fromEntries(
    ['Squeeze', 'Unsqueeze', 'ReduceSum'].map((opType) => [
      opType,
      [
        13,
        (node: Node, put: Put): Node => {
          const axes = node.attributes.has('axes') ? [put('axes', int64Tensor(intsOf(node, 'axes', [])))] : []
          return { ...node, inputs: [node.inputs[0]!, ...axes], attributes: without(node, 'axes') }
        },
      ] as const,
    ]),
  ),
}

/** Softmax took all axes from the given one on together; over the last alone it is what it was. */
function isSameSoftmax(node: Node, opset: number, shapes: Shapes): boolean {
  const rank = shapes.get(node.inputs[0]!)?.length ?? 0
  const axis = intOf(node, 'axis', opset < 13 ? 1 : -1)
  return opset >= 13 || (axis + rank) % rank === rank - 1
}

function raise(graph: Graph, node: Node, wanted: number, shapes: Shapes): Raised {
  const initializers = new Map<string, Tensor>()
  const unchanged = { node, initializers }
  if (node.domain !== '' || UNCHANGED.has(node.opType)) return unchanged
  const moved = MOVED[node.opType]
  if (moved !== undefined) {
    const [since, change] = moved
    const put: Put = (suffix, tensor) => {
      const name = freshName(graph, `${node.outputs[0]}.${suffix}`, initializers)
      initializers.set(name, tensor)
      return name
    }
    return graph.opset >= since || wanted < since ? unchanged : { node: change(node, put), initializers }
  }
  if (/^(Log)?Softmax$/.test(node.opType) && isSameSoftmax(node, graph.opset, shapes)) {
    const rank = shapes.get(node.inputs[0]!)!.length
    // The default was 1, and is the last now: both are the last where there are two.
    return node.attributes.has('axis') || rank === 2 ? unchanged : refuse(node, graph.opset, wanted)
  }
  return refuse(node, graph.opset, wanted)
}

function refuse(node: Node, found: number, wanted: number): never {
  throw new ModelError(
    `Cannot raise opset: ${describeNode(node)} may mean another thing in opset ${wanted} than in ${found}; convert the model first`,
  )
}

/**
 * The same model in a newer opset, where each operator means there what it means now.
 *
 * @param wanted At most 17. @param shapes Of every value.
 * @returns The graph itself where its opset is as new already.
 * @throws {ModelError} Naming the first node whose operator may have changed.
 */
export function raiseOpset(graph: Graph, wanted: number, shapes: Shapes): Graph {
  if (wanted > NEWEST) throw new RangeError(`Cannot raise opset to ${wanted}: expected ${NEWEST} at most`)
  if (graph.opset >= wanted) return graph
  const raised = graph.nodes.map((node) => raise(graph, node, wanted, shapes))
  const { model } = graph
  const isOwn = (domain: string): boolean => domain === '' || domain === 'ai.onnx'
  const proto = model.graph!
  // Format 3 lists all initializers as inputs and has them constant; newer ones take listed ones for changeable.
  const input =
    model.irVersion < 4n ? proto.input.filter(({ name }) => !graph.initializers.has(name)) : [...proto.input]
  return {
    ...graph,
    nodes: raised.map(({ node }) => node),
    initializers: new Map([...graph.initializers, ...raised.flatMap(({ initializers }) => [...initializers])]),
    opset: wanted,
    model: {
      ...model,
      irVersion: model.irVersion < IR ? IR : model.irVersion,
      opsetImport: model.opsetImport.map((each) => (isOwn(each.domain) ? { ...each, version: BigInt(wanted) } : each)),
      graph: { ...proto, input },
    },
  }
}
