import { ModelError } from '@espalier/shared/errors'
import { describeNode } from '../graph/attributes.ts'
import type { Graph } from '../graph/graph.ts'

/**
 * The same constants in two exports of one model, whatever the exporter called them.
 *
 * @returns Initializer of the first -> initializer of the second.
 * @throws {ModelError} At the first node whose operator or wiring differs.
 */
export function pairInitializers(first: Graph, second: Graph): Map<string, string> {
  const counts = [first, second].map(({ nodes, inputs }) => `${nodes.length} nodes and ${inputs.length} inputs`)
  if (counts[0] !== counts[1])
    throw new ModelError(`Cannot compare the models: found ${counts[1]}, expected ${counts[0]} as in the base`)
  const constants = new Map<string, string>()
  const values = new Map(first.inputs.map(({ name }, i) => [name, second.inputs[i]!.name]))
  for (const [i, node] of first.nodes.entries()) {
    const other = second.nodes[i]!
    const refuse = (found: string, expected: string): never => {
      throw new ModelError(
        `Cannot compare the models: at node ${describeNode(node)} of the base found ${found}, expected ${expected}`,
      )
    }
    if (node.opType !== other.opType || node.domain !== other.domain) refuse(describeNode(other), `${node.opType}`)
    if (node.inputs.length !== other.inputs.length || node.outputs.length !== other.outputs.length)
      refuse(`${other.inputs.length} inputs and ${other.outputs.length} outputs`, 'as many as it has')
    for (const [at, name] of node.inputs.entries()) {
      const theirs = other.inputs[at]!
      const [a, b] = [first.initializers.get(name), second.initializers.get(theirs)]
      if (a !== undefined && b !== undefined) {
        if (a.dims.join() !== b.dims.join()) refuse(`"${theirs}" [${b.dims}]`, `[${a.dims}] like "${name}"`)
        constants.set(name, theirs)
      } else if (a !== undefined || b !== undefined || (name !== '' && (values.get(name) ?? name) !== theirs))
        refuse(`input "${theirs}"`, `"${values.get(name) ?? name}"`)
    }
    for (const [at, name] of node.outputs.entries()) values.set(name, other.outputs[at]!)
  }
  return constants
}
