import { hoistConstants } from '../graph/constants.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import { type InputShape, openRunner, randomFeeds } from '../graph/run.ts'
import { floatTensor, int64Tensor, sizeOf, type Tensor, TYPE } from '../graph/tensor.ts'

/** Larger results stay computed: storing them would cost more than computing them. */
const MAX_VALUES = 65536

/**
 * Replace by its result whatever does not depend on the inputs' values, their shapes being fixed: the arithmetic on
 * shapes that exporters leave behind.
 *
 * @param inputs The shapes to settle for; the result is right at no other.
 */
export async function settle(original: Graph, name: string, inputs: readonly InputShape[]): Promise<Graph> {
  const graph = hoistConstants(original)
  const settled = new Set<string>()
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    const isRandom = node.opType.startsWith('Random') || node.opType === 'Bernoulli' || node.opType === 'Multinomial'
    const hasInner = [...node.attributes.values()].some(({ g, graphs }) => g !== undefined || graphs.length > 0)
    const known = (value: string): boolean => value === '' || settled.has(value) || graph.initializers.has(value)
    if (isRandom || hasInner || node.domain !== '' || !(node.opType === 'Shape' || node.inputs.every(known))) continue
    nodes.push(node)
    for (const output of node.outputs) settled.add(output)
  }
  if (nodes.length === 0) return graph
  const runner = await openRunner(graph, name, {
    outputs: nodes.flatMap(({ outputs }) => outputs).filter((output) => output !== ''),
  })
  const found = await runner.run(randomFeeds(inputs)).finally(() => runner.close())
  const initializers = new Map<string, Tensor>()
  const replaced = new Map<Node, readonly Node[]>()
  for (const node of nodes) {
    const tensors = node.outputs.map((output): Tensor | undefined => {
      if (output === '') return undefined
      const { type, dims, data } = found[output]!
      if (sizeOf(dims) > MAX_VALUES) return undefined
      if (type === 'float32') return floatTensor(data as Float32Array, dims)
      if (type === 'int64') return int64Tensor(Array.from(data as BigInt64Array, Number), dims)
      if (type === 'bool') return { type: TYPE.BOOL, dims, data: Uint8Array.from(data as Uint8Array) }
      return undefined
    })
    if (tensors.some((tensor) => tensor === undefined)) continue
    for (const [i, output] of node.outputs.entries()) initializers.set(output, tensors[i]!)
    replaced.set(node, [])
  }
  return rewrite(graph, { nodes: replaced, initializers })
}
