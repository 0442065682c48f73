import type { AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto } from './onnx_pb.ts'
import type { Tensor } from './tensor.ts'

/** One operator. Names of inputs and outputs; an empty name stands for an optional one that is absent. */
export interface Node {
  readonly name: string
  readonly opType: string
  /** Empty for ONNX's own operators. */
  readonly domain: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: ReadonlyMap<string, AttributeProto>
  /** What it was read from, whose notes are written back. */
  readonly source?: NodeProto
}

/** A model's graph. Never changed: a pass returns another. */
export interface Graph {
  /** In an order in which they can run. */
  readonly nodes: readonly Node[]
  readonly initializers: ReadonlyMap<string, Tensor>
  /** Without those inputs that are initializers with a changeable value. */
  readonly inputs: readonly ValueInfoProto[]
  readonly outputs: readonly ValueInfoProto[]
  /** Version of ONNX's own operators. */
  readonly opset: number
  /** Everything that no pass looks at: it is written back as it was read. */
  readonly model: ModelProto
}

/** Whether the model leaves a dimension other than the batch to whoever runs it. */
export const isSizeOpen = (graph: Graph): boolean =>
  graph.inputs.some(({ type }) => {
    const shape = type?.value.case === 'tensorType' ? type.value.value.shape : undefined
    return shape === undefined || shape.dim.slice(1).some(({ value }) => value.case !== 'dimValue' || value.value <= 0n)
  })

/** Whether the model leaves the batch to whoever runs it. */
export const isBatchOpen = (graph: Graph): boolean =>
  graph.inputs.some(({ type }) => {
    const first = type?.value.case === 'tensorType' ? type.value.value.shape?.dim[0]?.value : undefined
    return first?.case !== 'dimValue' || first.value <= 0n
  })

export type Pass = (graph: Graph) => Graph

/** The names that a node reads, those that its inner graphs capture included. */
export function namesRead({ inputs, attributes }: Node): string[] {
  const names = inputs.filter((name) => name !== '')
  for (const { g, graphs } of attributes.values())
    for (const inner of [...(g === undefined ? [] : [g]), ...graphs]) names.push(...namesReadInside(inner))
  return names
}

/** More than is captured, when an inner name hides an outer one: then the outer one is kept without need, and no harm done. */
function namesReadInside(inner: GraphProto): string[] {
  const names = inner.output.map(({ name }) => name)
  for (const node of inner.node) {
    names.push(...node.input)
    for (const { g, graphs } of node.attribute)
      for (const deeper of [...(g === undefined ? [] : [g]), ...graphs]) names.push(...namesReadInside(deeper))
  }
  return names
}

/** Who makes and who reads each value of a graph. */
export class Wiring {
  readonly #producers = new Map<string, Node>()
  readonly #consumers = new Map<string, Node[]>()
  readonly #outputs: ReadonlySet<string>

  constructor(graph: Graph) {
    this.#outputs = new Set(graph.outputs.map(({ name }) => name))
    for (const node of graph.nodes) {
      for (const name of node.outputs) this.#producers.set(name, node)
      for (const name of new Set(namesRead(node)))
        this.#consumers.set(name, [...(this.#consumers.get(name) ?? []), node])
    }
  }

  producerOf(name: string): Node | undefined {
    return this.#producers.get(name)
  }

  consumersOf(name: string): readonly Node[] {
    return this.#consumers.get(name) ?? []
  }

  isOutput(name: string): boolean {
    return this.#outputs.has(name)
  }

  /** The one node that reads a value which is not an output of the graph, if there is exactly one. */
  onlyConsumerOf(name: string): Node | undefined {
    const consumers = this.consumersOf(name)
    return consumers.length === 1 && !this.isOutput(name) ? consumers[0] : undefined
  }
}

/** A name that no value of the graph has yet, nor any of `pending`, from one that says what it is. */
export function freshName(graph: Graph, wanted: string, pending?: ReadonlyMap<string, unknown>): string {
  const taken = new Set([
    ...graph.initializers.keys(),
    ...graph.inputs.map(({ name }) => name),
    ...graph.nodes.flatMap(({ outputs }) => outputs),
  ])
  let name = wanted
  for (let i = 1; taken.has(name) || pending?.has(name); i++) name = `${wanted}_${i}`
  return name
}
