import { IntegrityError, ModelError } from '@espalier/shared/errors'
import { liveAdapter } from '../adapter/live.ts'
import { mergeAdapter } from '../adapter/merge.ts'
import type { Adapter } from '../adapter/pair.ts'
import type { Graph } from '../graph/graph.ts'
import type { InputShape } from '../graph/run.ts'
import { floatTensor } from '../graph/tensor.ts'
import { verify } from './verify.ts'

/** `merged`: added into the weights, no cost at inference. `live`: computed beside them. */
export const ADAPTER_MODES = ['merged', 'live'] as const
export type AdapterMode = (typeof ADAPTER_MODES)[number]

export interface AdapterOptions {
  readonly mode: AdapterMode
  /** Scale of the adapter, 0 is the base; "input" makes it a float32 input [1] of the live graph. */
  readonly alpha: number | 'input'
  /** The base's inputs, to run both modes at. */
  readonly inputs: readonly InputShape[]
  /** For messages. */
  readonly name: string
}

export interface AppliedAdapter {
  readonly graph: Graph
  /** Merged against live on random inputs: the largest difference of an output over its largest value. */
  readonly mergedVersusLive: { readonly relative: number; readonly value: string; readonly alphas: readonly number[] }
  readonly alphaInput?: string
}

/** The two modes are the same sum in another order; more than this is a fault. */
const MOST_DIFFERENCE = 1e-3

/** A graph whose input is a constant. */
const bindInput = (graph: Graph, input: string, value: number): Graph => ({
  ...graph,
  inputs: graph.inputs.filter(({ name }) => name !== input),
  initializers: new Map([...graph.initializers, [input, floatTensor([value], [1])]]),
})

/**
 * Apply an adapter in either mode, and run both to see that they agree.
 *
 * @throws {ModelError} If the adapter does not fit. @throws {IntegrityError} If the two differ by more than a thousandth.
 */
export async function applyAdapter(
  graph: Graph,
  adapter: Adapter,
  { mode, alpha, inputs, name }: AdapterOptions,
): Promise<AppliedAdapter> {
  if (mode === 'merged' && alpha === 'input')
    throw new ModelError(
      `Cannot merge into "${name}": found alpha as an input, expected a number; only live can take it`,
    )
  const live = liveAdapter(graph, adapter, alpha)
  const alphas = alpha === 'input' ? [1, 0.5] : [alpha]
  let worst = { relative: 0, value: graph.outputs[0]!.name }
  for (const each of alphas) {
    const merged = mergeAdapter(graph, adapter, each)
    const bound = live.alphaInput === undefined ? live.graph : bindInput(live.graph, live.alphaInput, each)
    const { outputs } = await verify(merged, bound, inputs, { name, withInner: false })
    if (!(outputs.relative <= worst.relative)) worst = outputs
  }
  if (!(worst.relative <= MOST_DIFFERENCE))
    throw new IntegrityError(
      `Cannot adapt "${name}": found that merged and live differ by ${worst.relative.toExponential(1)} at "${worst.value}", expected at most ${MOST_DIFFERENCE.toExponential(0)}; nothing was written`,
    )
  return {
    graph: mode === 'live' ? live.graph : mergeAdapter(graph, adapter, alpha as number),
    mergedVersusLive: { ...worst, alphas },
    ...(live.alphaInput === undefined ? {} : { alphaInput: live.alphaInput }),
  }
}
