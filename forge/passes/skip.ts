import { ModelError } from '@espalier/shared/errors'
import { splitmix32 } from '@espalier/shared/splitmix32'
import type { Shapes } from '../graph/cost.ts'
import { type Graph, namesRead, Wiring } from '../graph/graph.ts'
import { rewire } from '../graph/rewrite.ts'
import { type InputShape, openRunner, type Values } from '../graph/run.ts'

/** A part of the graph that could be the identity: what goes in and what comes out have the same shape. */
export interface Block {
  readonly name: string
  readonly input: string
  readonly output: string
}

/** A sum that is no block, and why. */
export interface NoBlock {
  readonly name: string
  readonly reason: string
}

/** What keeps a value's numbers from being negative; a pool of such numbers too. */
function isRectified(wiring: Wiring, value: string): boolean {
  for (let producer = wiring.producerOf(value); ; producer = wiring.producerOf(producer.inputs[0]!)) {
    if (producer?.opType === 'Relu') return true
    if (producer === undefined || !['MaxPool', 'AveragePool', 'Dropout', 'Identity'].includes(producer.opType))
      return false
  }
}

/** Every sum of two values: a residual block, or why it is none. @param shapes Of every value. */
export function judgeSums(graph: Graph, shapes: Shapes): (Block | NoBlock)[] {
  const wiring = new Wiring(graph)
  const order = new Map(graph.nodes.map((node, i) => [node, i]))
  const comesFrom = (value: string, wanted: string): boolean => {
    const stack = [value]
    const seen = new Set<string>()
    // What was made before the wanted value cannot have come from it.
    const earliest = order.get(wiring.producerOf(wanted)!) ?? -1
    while (stack.length > 0) {
      const name = stack.pop()!
      if (name === wanted) return true
      const producer = wiring.producerOf(name)
      if (producer === undefined || seen.has(name) || order.get(producer)! < earliest) continue
      seen.add(name)
      stack.push(...namesRead(producer))
    }
    return false
  }
  return graph.nodes.flatMap((node): (Block | NoBlock)[] => {
    if (node.opType !== 'Add' || node.domain !== '' || node.inputs.some((name) => graph.initializers.has(name)))
      return []
    const name = node.name || node.outputs[0]!
    const [a, b] = node.inputs as [string, string]
    const dims = shapes.get(node.outputs[0]!)
    if (dims === undefined || dims.length < 2) return []
    const other = [a, b].find((input) => shapes.get(input)?.join() !== dims.join())
    if (other !== undefined)
      return [{ name, reason: `"${other}" is ${shapes.get(other)?.join(' x ')}, the sum ${dims.join(' x ')}` }]
    const input = a !== b && comesFrom(a, b) ? b : comesFrom(b, a) && a !== b ? a : undefined
    if (input === undefined) return [{ name, reason: 'neither side is what the other is computed from' }]
    const next = wiring.onlyConsumerOf(node.outputs[0]!)
    const rectified = next?.opType === 'Relu' ? next.outputs[0]! : undefined
    // After a rectifier the input must have been rectified too, else it would come out with other signs.
    const output = rectified !== undefined && isRectified(wiring, input) ? rectified : node.outputs[0]!
    if (wiring.isOutput(output) && wiring.producerOf(input) === undefined)
      return [{ name, reason: 'it is the whole model' }]
    const isCaptured = graph.nodes.some((each) => namesRead(each).includes(output) && !each.inputs.includes(output))
    return isCaptured ? [{ name, reason: `an inner graph reads "${output}"` }] : [{ name, input, output }]
  })
}

/** A residual sum whose one side is what its other side was computed from, with the rectifier after it. */
export const findBlocks = (graph: Graph, shapes: Shapes): Block[] =>
  judgeSums(graph, shapes).filter((found) => 'input' in found)

/** @throws {ModelError} If there is no block, with the reason for each sum. */
export function requireBlocks(graph: Graph, shapes: Shapes, model: string): Block[] {
  const blocks = findBlocks(graph, shapes)
  if (blocks.length > 0) return blocks
  const sums = judgeSums(graph, shapes) as NoBlock[]
  const found = sums.length === 0 ? 'no sum of two values' : sums.map(({ name, reason }) => `"${name}" (${reason})`)
  throw new ModelError(
    `Cannot skip blocks of "${model}": found ${found}, expected a residual sum whose input and output have one shape`,
  )
}

/** The same numbers for the same seed, in (0, 1): never 0, of which there is no logarithm. */
function randomNumbers(seed: number): () => number {
  const next = splitmix32(seed)
  return () => next() + 2 ** -33
}

/** Points on the unit sphere, [directions][size]. */
export function randomDirections(directions: number, size: number, seed: number): Float64Array[] {
  const next = randomNumbers(seed)
  return Array.from({ length: directions }, () => {
    const values = Float64Array.from(
      { length: size },
      () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
    )
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
    return values.map((value) => value / norm)
  })
}

/** Wasserstein-2 distance of two equally many numbers: sort, then compare in pairs. */
export function wasserstein2(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [x, y] = [Float64Array.from(a).sort(), Float64Array.from(b).sort()]
  return Math.sqrt(x.reduce((sum, value, i) => sum + (value - y[i]!) ** 2, 0) / x.length)
}

export interface BlockDistance extends Block {
  /** Largest and mean sliced Wasserstein-2 distance between what goes in and what comes out. */
  readonly maxDistance: number
  readonly meanDistance: number
}

/**
 * How far each block moves its input, over calibration data (LaCoOT, Quetu et al. 2025; methods.md 5): the same random
 * directions for every block of one size, so that distances compare.
 */
export async function measureBlocks(
  graph: Graph,
  blocks: readonly Block[],
  input: InputShape,
  feeds: readonly Values[],
  { directions = 50, seed = 1 }: { directions?: number; seed?: number } = {},
): Promise<BlockDistance[]> {
  if (blocks.length === 0) return []
  const values = [...new Set(blocks.flatMap((block) => [block.input, block.output]))].filter(
    (name) => name !== input.name,
  )
  const runner = await openRunner(graph, 'calibration', { outputs: values })
  // Value -> direction -> projections, one for each picture.
  const projections = new Map<string, number[][]>()
  const thetas = new Map<number, Float64Array[]>()
  try {
    for (const feed of feeds) {
      const found: Record<string, Values> = { ...(await runner.run({ [input.name]: feed })), [input.name]: feed }
      for (const value of new Set(blocks.flatMap((block) => [block.input, block.output]))) {
        const data = found[value]!.data as Float32Array
        const theta = thetas.get(data.length) ?? randomDirections(directions, data.length, seed)
        thetas.set(data.length, theta)
        const own = projections.get(value) ?? theta.map(() => [])
        projections.set(value, own)
        for (const [k, direction] of theta.entries()) {
          let sum = 0
          for (let i = 0; i < data.length; i++) sum += data[i]! * direction[i]!
          own[k]!.push(sum)
        }
      }
    }
  } finally {
    await runner.close()
  }
  return blocks.map((block) => {
    const [x, y] = [projections.get(block.input)!, projections.get(block.output)!]
    const distances = x.map((own, k) => wasserstein2(own, y[k]!))
    return {
      ...block,
      maxDistance: Math.max(...distances),
      meanDistance: distances.reduce((sum, each) => sum + each, 0) / distances.length,
    }
  })
}

/** Let what reads blocks' outputs read their inputs. @throws {ModelError} If the model has no such block. */
export function removeBlocks(graph: Graph, blocks: readonly Block[]): Graph {
  const next = rewire(graph, new Map(blocks.map(({ output, input }) => [output, input])))
  const reads = new Set(next.nodes.flatMap(namesRead))
  for (const { name, output } of blocks)
    if (!graph.nodes.some(({ outputs }) => outputs.includes(output)) || reads.has(output))
      throw new ModelError(`Cannot remove block "${name}": found no value "${output}" that only nodes read`)
  return next
}

/** What taking out blocks did, in whatever unit the tolerance has, and the loss on held-out data where it is known. */
export interface Harm {
  readonly harm: number
  readonly loss: number | null
}

export interface SkipStep extends Harm {
  readonly block: string
  /** Whether it stays out; one that harms too much is put back. */
  readonly isKept: boolean
}

export interface SkipReport {
  /** In the order in which they were tried: the one that moves its input least first. */
  readonly blocks: readonly BlockDistance[]
  readonly steps: readonly SkipStep[]
}

/**
 * Remove blocks in order of their distance while the harm stays within bounds. One shot, no training.
 *
 * @param judge How much worse a graph is than the original.
 * @param options.tries A block that harms too much is put back and the next is tried, this many times.
 */
export async function skip(
  graph: Graph,
  distances: readonly BlockDistance[],
  judge: (graph: Graph) => Promise<Harm>,
  { tolerance, atMost = Number.POSITIVE_INFINITY, tries = 0 }: { tolerance: number; atMost?: number; tries?: number },
): Promise<{ graph: Graph; report: SkipReport }> {
  const order = [...distances].sort((a, b) => a.maxDistance - b.maxDistance)
  const steps: SkipStep[] = []
  // All at once from the original each time: values that have taken another's name are no concern then.
  let removed: Block[] = []
  let failed = 0
  for (const block of order) {
    if (removed.length >= atMost || failed > tries) break
    const { harm, loss } = await judge(removeBlocks(graph, [...removed, block]))
    const isKept = harm <= tolerance
    steps.push({ block: block.name, harm, loss, isKept })
    if (isKept) removed = [...removed, block]
    else failed++
  }
  const rest = removed.length === 0 ? graph : removeBlocks(graph, removed)
  return { graph: rest, report: { blocks: order, steps } }
}
