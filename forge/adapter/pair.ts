import type { Svd } from '../graph/svd.ts'

/** A low-rank update of one weight, seen as the matrix [outputs, inputs]: weight + alpha * up * down. */
export interface Pair {
  /** The name of the graph's initializer. */
  readonly weight: string
  readonly outputs: number
  /** Of a convolution: the inputs of one group times the places of its kernel. */
  readonly inputs: number
  readonly rank: number
  /** [outputs, rank], in C order. */
  readonly up: Float64Array
  /** [rank, inputs], in C order. */
  readonly down: Float64Array
}

/** At most one pair a weight. */
export type Adapter = readonly Pair[]

/** Numbers that a pair of this shape needs for each rank. */
export const costPerRank = ({ outputs, inputs }: Pick<Pair, 'outputs' | 'inputs'>): number => outputs + inputs

export const countNumbers = (adapter: Adapter): number =>
  adapter.reduce((sum, pair) => sum + pair.rank * costPerRank(pair), 0)

/** up * down as [outputs, inputs]. */
export function productOf({ outputs, inputs, rank, up, down }: Pair): Float64Array {
  const product = new Float64Array(outputs * inputs)
  for (let o = 0; o < outputs; o++)
    for (let j = 0; j < rank; j++) {
      const factor = up[o * rank + j]!
      if (factor === 0) continue
      for (let i = 0; i < inputs; i++) product[o * inputs + i]! += factor * down[j * inputs + i]!
    }
  return product
}

/** The pair of some of its components, which are columns of up and rows of down. */
export function keepComponents(pair: Pair, kept: readonly number[]): Pair {
  const { outputs, inputs, rank } = pair
  const up = new Float64Array(outputs * kept.length)
  const down = new Float64Array(kept.length * inputs)
  for (const [to, from] of kept.entries()) {
    for (let o = 0; o < outputs; o++) up[o * kept.length + to] = pair.up[o * rank + from]!
    down.set(pair.down.subarray(from * inputs, (from + 1) * inputs), to * inputs)
  }
  return { ...pair, rank: kept.length, up, down }
}

/** The first `rank` singular components as a pair; both sides carry the root of the value, so that halves hold either. */
export function pairOf({ left, values, right }: Svd, weight: string, rank: number): Pair {
  const [outputs, inputs] = [left.rows, right.columns]
  const up = new Float64Array(outputs * rank)
  const down = new Float64Array(rank * inputs)
  for (let j = 0; j < rank; j++) {
    const root = Math.sqrt(values[j]!)
    for (let o = 0; o < outputs; o++) up[o * rank + j] = root * left.get(o, j)
    for (let i = 0; i < inputs; i++) down[j * inputs + i] = root * right.get(j, i)
  }
  return { weight, outputs, inputs, rank, up, down }
}
