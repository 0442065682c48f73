import type { Graph } from '../graph/graph.ts'
import { matrixOf } from './layers.ts'
import { type Adapter, keepComponents } from './pair.ts'
import { cutSeries, findSeries } from './series.ts'

/** What to keep of all neurons together: a share from 0 to 1, or so many. */
export type Keep = { readonly share: number } | { readonly count: number }

export interface SlicedAdapter {
  /** The weight of a pair, or the sum at the end of an adapter in series. */
  readonly name: string
  readonly kind: 'pair' | 'series'
  readonly before: number
  readonly after: number
}

/**
 * How much each neuron weighs: the length of its row of down over the number of inputs, plus that of its column of up
 * over the number of outputs (L1; methods.md 9.2). Dividing makes layers of different width comparable. Of adapters
 * in series it is twice MiMi's number, which changes no order.
 *
 * @param down [neurons, inputs]. @param up [outputs, neurons].
 */
export function scoreNeurons(
  down: Float64Array,
  up: Float64Array,
  { neurons, inputs, outputs }: { neurons: number; inputs: number; outputs: number },
): number[] {
  const scores = Array<number>(neurons).fill(0)
  for (let i = 0; i < down.length; i++) scores[Math.floor(i / inputs)]! += Math.abs(down[i]!) / inputs
  for (let i = 0; i < up.length; i++) scores[i % neurons]! += Math.abs(up[i]!) / outputs
  return scores
}

/** Which neurons of each adapter are among the best of all; those that tie with the last one are too. */
export function keepBest(scores: readonly (readonly number[])[], keep: Keep): number[][] {
  const all = scores.flat().sort((a, b) => b - a)
  // 0.29 of 100 is 28.999 in binary.
  const count = 'count' in keep ? keep.count : Math.floor(keep.share * all.length + 1e-9)
  const threshold = count === 0 ? Number.POSITIVE_INFINITY : (all[count - 1] ?? 0)
  return scores.map((own) => own.flatMap((score, i) => (score >= threshold ? [i] : [])))
}

/**
 * Keep the best neurons of all adapters together - low-rank pairs, and those in series that the graph has - and take
 * the others out (MiMi, Marouf et al. 2024). An adapter with none left is removed.
 */
export function sliceAdapters(
  graph: Graph,
  adapter: Adapter,
  keep: Keep,
): { graph: Graph; adapter: Adapter; report: readonly SlicedAdapter[] } {
  const series = findSeries(graph)
  const scores = [
    ...adapter.map((pair) => scoreNeurons(pair.down, pair.up, { ...pair, neurons: pair.rank })),
    ...series.map(({ down, up, neurons }) =>
      scoreNeurons(matrixOf(graph, down), matrixOf(graph, up), { neurons, inputs: down.inputs, outputs: up.outputs }),
    ),
  ]
  const kept = keepBest(scores, keep)
  const ofSeries = kept.slice(adapter.length)
  const cut = new Map(series.flatMap((each, i) => (ofSeries[i]!.length === each.neurons ? [] : [[each, ofSeries[i]!]])))
  return {
    graph: cut.size === 0 ? graph : cutSeries(graph, cut),
    adapter: adapter.flatMap((pair, i) => {
      const own = kept[i]!
      if (own.length === pair.rank) return [pair]
      return own.length === 0 ? [] : [keepComponents(pair, own)]
    }),
    report: [
      ...adapter.map(({ weight, rank }, i) => ({
        name: weight,
        kind: 'pair' as const,
        before: rank,
        after: kept[i]!.length,
      })),
      ...series.map(({ sum, neurons }, i) => ({
        name: sum.name || sum.outputs[0]!,
        kind: 'series' as const,
        before: neurons,
        after: ofSeries[i]!.length,
      })),
    ],
  }
}
