import { ModelError } from '@espalier/shared/errors'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { type InputShape, openRunner, type Values } from '../graph/run.ts'
import type { Range } from './quantise-scales.ts'
import { findWeighted, type QuantiseOptions } from './quantise-weights.ts'

/** Operators whose result is quantised with them, because a runtime computes both at once. */
const FUSED = new Set(['Relu', 'Clip'])

/** The values that static quantisation needs the ranges of: what quantised nodes read, make, and add. */
export function valuesToMeasure(graph: Graph, options: QuantiseOptions = {}): string[] {
  const wiring = new Wiring(graph)
  const wanted = new Set<string>()
  const outputOf = (node: Node): string => {
    const next = wiring.onlyConsumerOf(node.outputs[0]!)
    return next !== undefined && FUSED.has(next.opType) ? next.outputs[0]! : node.outputs[0]!
  }
  for (const { node } of findWeighted(graph, options).found) {
    wanted.add(node.inputs[0]!)
    const output = outputOf(node)
    // The model's answer stays as fine as it was.
    if (!wiring.isOutput(output)) wanted.add(output)
  }
  for (const node of graph.nodes)
    if (node.opType === 'Add' && node.inputs.every((name) => wanted.has(name)) && !wiring.isOutput(outputOf(node)))
      wanted.add(outputOf(node))
  return [...wanted].filter((name) => !graph.initializers.has(name))
}

/** @throws {ModelError} If a value is no finite number. */
function widened({ low, high }: Range, data: Float32Array, name: string): Range {
  let [least, most] = [low, high]
  for (const value of data) {
    if (!Number.isFinite(value))
      throw new ModelError(`Cannot calibrate "${name}": found ${value}, expected finite numbers`)
    if (value < least) least = value
    if (value > most) most = value
  }
  return { low: least, high: most }
}

/**
 * Smallest and largest of each value over calibration data, zero included.
 *
 * @param feeds For the graph's one input. @throws {ModelError} If a value becomes infinite or no number.
 */
export async function measureRanges(
  graph: Graph,
  input: InputShape,
  feeds: readonly Values[],
  options: QuantiseOptions = {},
): Promise<Map<string, Range>> {
  const values = valuesToMeasure(graph, options)
  const runner = await openRunner(graph, 'calibration', { outputs: values.filter((name) => name !== input.name) })
  const ranges = new Map<string, Range>()
  try {
    for (const feed of feeds) {
      const found: Record<string, Values> = { ...(await runner.run({ [input.name]: feed })), [input.name]: feed }
      for (const name of values)
        ranges.set(name, widened(ranges.get(name) ?? { low: 0, high: 0 }, found[name]!.data as Float32Array, name))
    }
  } finally {
    await runner.close()
  }
  return ranges
}
