import { ModelError } from '@espalier/shared/errors'
import { intOf, intsAttribute } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { END, Insertion } from '../graph/insertion.ts'
import { sweep } from '../graph/rewrite.ts'
import { floatTensor, int64Tensor, integersOf, type Tensor } from '../graph/tensor.ts'
import { type Attention, findAttentions } from './attentions.ts'
import { type Effect, type Placement, TokenFlow } from './token-flow.ts'
import { type Merging, mergeOnce } from './token-matching.ts'
import { mergeSteps, type Overflow } from './token-schedule.ts'

export interface TokenOptions {
  /** Tokens that are merged after each attention, first to last (`tomeSchedule`, `folderSchedule`). */
  readonly schedule: readonly number[]
  /** What happens where more than half are to go. */
  readonly overflow?: Overflow
  /** Whether the first token is a class token, which never merges. */
  readonly hasClassToken?: boolean
  /** Add the logarithm of a token's size to later attention, so that it counts as often as it stands for (ToMe). */
  readonly isProportional?: boolean
}

export interface TokenReport {
  /** Tokens that leave each block. */
  readonly tokens: readonly number[]
  /** Steps of merging in each block: more than one where more than half were to go (FOLDER). */
  readonly steps: readonly (readonly number[])[]
}

/** Names of what is inserted, by which a model is known that was treated before. */
const PREFIX = 'tokens'

/** Tokens as they are after some mergings. */
interface Stage {
  readonly size: string
  readonly tokens: number
}

/** Graph in, graph out, one node at a time. */
class TokenRewriter {
  readonly #graph: Graph
  readonly #shapes: Shapes
  readonly #flow: TokenFlow
  readonly #hasClassToken: boolean
  readonly #isProportional: boolean
  readonly #all: number
  readonly #batch: number
  readonly #nodes: Node[] = []
  readonly #initializers: Map<string, Tensor>
  /** After each merging: `stage` of a placement counts from 1. */
  readonly #stages: Stage[] = []
  readonly #renamed = new Map<string, string>()
  #insertions = 0

  constructor(
    graph: Graph,
    shapes: Shapes,
    { tokens, batch }: Attention,
    { hasClassToken = true, isProportional = true }: TokenOptions,
  ) {
    this.#graph = graph
    this.#shapes = shapes
    this.#flow = new TokenFlow(graph, shapes, hasClassToken)
    this.#hasClassToken = hasClassToken
    this.#isProportional = isProportional
    this.#all = tokens
    this.#batch = batch
    this.#initializers = new Map(graph.initializers)
  }

  #insert<T>(work: (made: Insertion) => T): T {
    const made = new Insertion(`${PREFIX}${this.#insertions++}`, this.#graph.opset)
    const result = work(made)
    this.#nodes.push(...made.nodes)
    for (const [name, tensor] of made.initializers) this.#initializers.set(name, tensor)
    return result
  }

  #left({ stage, isCut }: Placement): number {
    return this.#stages[stage - 1]!.tokens - (isCut ? 1 : 0)
  }

  /** Sizes of the tokens of a placement, along one axis of a value of this rank. */
  #sizes(made: Insertion, placement: Placement, rank: number, axis: number): string {
    const { size } = this.#stages[placement.stage - 1]!
    const own = placement.isCut ? made.slice(size, 1, 1, END) : size
    const dims = Array.from({ length: rank }, (_, i) =>
      i === 0 ? this.#batch : i === axis ? this.#left(placement) : 1,
    )
    return dims.join() === [this.#batch, this.#left(placement), 1].join()
      ? own
      : made.one('Reshape', [own, made.integers(...dims)])
  }

  /** A node as it is, but for the names that it reads and the numbers of tokens that it names. */
  #copy(node: Node, effect: Effect | undefined): Node {
    const inputs = node.inputs.map((name) => this.#renamed.get(name) ?? name)
    const target = node.opType === 'Reshape' ? this.#graph.initializers.get(node.inputs[1]!) : undefined
    if (target === undefined || effect?.kind !== 'passes') return { ...node, inputs }
    const { placement } = effect
    const listed = integersOf(target, node.inputs[1]!)
    const dims = listed.map((dim, axis) => (dim > 0 && placement.axes.includes(axis) ? this.#left(placement) : dim))
    if (dims.join() === listed.join()) return { ...node, inputs }
    const name = `${PREFIX}.${node.outputs[0]}.shape`
    this.#initializers.set(name, int64Tensor(dims))
    return { ...node, inputs: [inputs[0]!, name] }
  }

  /** A mean over tokens that each count as often as they stand for: sizes sum to all tokens. */
  #average(node: Node, axis: number, placement: Placement): void {
    const [input, output] = [this.#renamed.get(node.inputs[0]!) ?? node.inputs[0]!, node.outputs[0]!]
    const rank = this.#shapes.get(node.inputs[0]!)!.length
    this.#insert((made) => {
      const weighted = made.one('Mul', [input, this.#sizes(made, placement, rank, axis)])
      const sum = made.reduce('ReduceSum', weighted, axis, intOf(node, 'keepdims', 1) === 1)
      const share = made.constant(floatTensor([1 / (this.#all - (placement.isCut ? 1 : 0))], []))
      made.one('Mul', [sum, share], [], output)
    })
  }

  /** Softmax of scores to which the logarithms of sizes are added. */
  #weigh(node: Node, axis: number, placement: Placement): void {
    const [input] = node.inputs as [string]
    const rank = this.#shapes.get(input)!.length
    const scores = this.#insert((made) =>
      made.one('Add', [this.#renamed.get(input) ?? input, made.one('Log', [this.#sizes(made, placement, rank, axis)])]),
    )
    this.#nodes.push({ ...node, inputs: [scores] })
  }

  visit(node: Node): void {
    const effect = this.#flow.effectOf(node)
    if (effect?.kind === 'averages') this.#average(node, effect.axis, effect.placement)
    else if (effect?.kind === 'weighs' && this.#isProportional) this.#weigh(node, effect.axis, effect.placement)
    else this.#nodes.push(this.#copy(node, effect))
    if (effect?.kind === 'passes' || effect?.kind === 'weighs')
      for (const output of node.outputs) this.#flow.place(output, effect.placement)
  }

  /** Merge after an attention's residual sum, which has just been visited. */
  merge({ keys, sum, width, batch }: Attention, steps: readonly number[]): void {
    const [output] = sum.outputs as [string]
    let tokens = this.#stages.at(-1)?.tokens ?? this.#all
    this.#insert((made) => {
      const metric = made.one(
        'Transpose',
        [made.reduce('ReduceMean', keys, 1, false)],
        [intsAttribute('perm', [0, 2, 1])],
      )
      const ones = (): string =>
        made.constant(floatTensor(new Float32Array(batch * tokens).fill(1), [batch, tokens, 1]))
      let merging: Merging = {
        x: { values: output, width },
        size: this.#stages.at(-1)?.size ?? ones(),
        metric: { values: metric, width: this.#shapes.get(keys)![2]! },
      }
      for (const count of steps) {
        merging = mergeOnce(made, merging, { tokens, count, hasClassToken: this.#hasClassToken })
        tokens -= count
      }
      this.#renamed.set(output, merging.x.values)
      this.#stages.push({ size: merging.size, tokens })
    })
    this.#flow.place(output, { axes: [1], stage: this.#stages.length, isCut: false })
  }

  get tokens(): number {
    return this.#stages.at(-1)?.tokens ?? this.#all
  }

  finish(): Graph {
    for (const { name } of this.#graph.outputs)
      if (this.#flow.of(name) !== undefined)
        throw new ModelError(
          `Cannot merge tokens: output "${name}" has a row for each token; expected an answer for all of them`,
        )
    return sweep({ ...this.#graph, nodes: this.#nodes, initializers: this.#initializers })
  }
}

function checkFresh(graph: Graph): void {
  const names = [...graph.nodes.flatMap(({ outputs }) => outputs), ...graph.initializers.keys()]
  const own = names.find((name) => new RegExp(`^${PREFIX}\\d*\\.`).test(name))
  if (own !== undefined)
    throw new ModelError(
      `Cannot merge tokens: found "${own}", by which tokens are merged already; start from the original`,
    )
}

/**
 * Merge tokens of a vision transformer that are alike, between attention and MLP, at shapes that stay fixed: ToMe's
 * matching, and FOLDER's repeated one where more than half go. The class token and the answers' shape stay; a mean over
 * tokens becomes one weighted by size.
 *
 * @param shapes Of every value; the arithmetic on shapes settled (`settle`), and the inputs' shapes written out.
 * @throws {ModelError} If there is no attention, the opset is too old, tokens lie in windows or grids, or they were
 *   merged before.
 */
export function mergeTokens(
  graph: Graph,
  shapes: Shapes,
  options: TokenOptions,
): { graph: Graph; report: TokenReport } {
  const { schedule, overflow = 'repeat', hasClassToken = true } = options
  if (schedule.some((count) => count > 0)) checkFresh(graph)
  const { found, refused } = findAttentions(graph, shapes)
  if (found.length === 0)
    throw new ModelError(
      `Cannot merge tokens: the model has no attention over all tokens; ${refused.join('; ') || 'found no Softmax over N x heads x tokens x tokens'}`,
    )
  if (schedule.length !== found.length)
    throw new ModelError(`Cannot merge tokens: found ${found.length} attentions, expected ${schedule.length}`)
  const kept = hasClassToken ? 1 : 0
  const merging = new Map<Node, { attention: Attention; steps: readonly number[] }>()
  const left: number[] = []
  for (const [i, attention] of found.entries()) {
    const tokens = left.at(-1) ?? attention.tokens
    const steps = mergeSteps(tokens, schedule[i]!, { overflow, kept })
    merging.set(attention.sum, { attention, steps })
    left.push(steps.reduce((rest, step) => rest - step, tokens))
  }
  const report = { tokens: left, steps: [...merging.values()].map(({ steps }) => steps) }
  if (report.steps.every(({ length }) => length === 0)) return { graph, report }
  if (graph.opset < 16)
    throw new ModelError(
      `Cannot merge tokens: found opset ${graph.opset}, expected 16 or newer, where ScatterElements can add; convert the model first`,
    )
  const rewriter = new TokenRewriter(graph, shapes, found[0]!, options)
  for (const node of graph.nodes) {
    rewriter.visit(node)
    const own = merging.get(node)
    if (own !== undefined && own.steps.length > 0) rewriter.merge(own.attention, own.steps)
  }
  return { graph: rewriter.finish(), report }
}
