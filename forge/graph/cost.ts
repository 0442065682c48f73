import { intOf } from './attributes.ts'
import type { Graph, Node } from './graph.ts'
import { sizeOf } from './tensor.ts'

export interface Cost {
  /** Multiplications with a weight or between two values, of one run at the probed shapes. */
  readonly macs: number
  /** Numbers in initializers that this node reads, each counted where it is first read. */
  readonly parameters: number
}

/** Dimensions of a value by its name. */
export type Shapes = ReadonlyMap<string, readonly number[]>

/** Only operators that multiply: the rest moves or compares. */
export function macsOf(node: Node, shapes: Shapes): number {
  const dims = (name: string | undefined): readonly number[] => (name === undefined ? [] : (shapes.get(name) ?? []))
  const [a, b] = [dims(node.inputs[0]), dims(node.inputs[1])]
  const out = sizeOf(dims(node.outputs[0]))
  switch (node.opType) {
    case 'Conv':
    case 'QLinearConv':
    case 'ConvInteger':
      return out * sizeOf((node.opType === 'QLinearConv' ? dims(node.inputs[3]) : b).slice(1))
    case 'ConvTranspose':
      return sizeOf(a) * sizeOf(b.slice(1))
    case 'MatMul':
    case 'MatMulInteger':
      return out * (a.at(-1) ?? 1)
    case 'Gemm':
      return out * ((intOf(node, 'transA', 0) ? a[0] : a[1]) ?? 1)
    default:
      return 0
  }
}

/** Costs node by node. @param shapes Of every value (`probeShapes`). */
export function costsOf(graph: Graph, shapes: Shapes): Map<Node, Cost> {
  const counted = new Set<string>()
  return new Map(
    graph.nodes.map((node) => {
      const own = node.inputs.filter((name) => graph.initializers.has(name) && !counted.has(name))
      for (const name of own) counted.add(name)
      const parameters = own.reduce((sum, name) => sum + sizeOf(graph.initializers.get(name)!.dims), 0)
      return [node, { macs: macsOf(node, shapes), parameters }]
    }),
  )
}

export function totalCost(graph: Graph, shapes: Shapes): Cost {
  let [macs, parameters] = [0, 0]
  for (const cost of costsOf(graph, shapes).values()) {
    macs += cost.macs
    parameters += cost.parameters
  }
  return { macs, parameters }
}
