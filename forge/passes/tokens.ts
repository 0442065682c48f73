import { ModelError } from '@espalier/shared/errors'
import { describeNode, intAttribute, intsAttribute, stringAttribute } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import { type Graph, type Node, Wiring } from '../graph/graph.ts'
import { sweep } from '../graph/rewrite.ts'
import { floatTensor, int64Tensor, integersOf, type Tensor } from '../graph/tensor.ts'

export interface TokenOptions {
  /** Tokens that are merged after each attention, first to last (`tomeSchedule`, `folderSchedule`). */
  readonly schedule: readonly number[]
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

/** The same number after each of `blocks` attentions (ToMe, Bolya et al. 2023; methods.md 10). */
export const tomeSchedule = (blocks: number, perBlock: number): number[] => Array<number>(blocks).fill(perBlock)

/** All of them after the last three, in proportion (FOLDER, Wang et al. 2025; methods.md 11). */
export function folderSchedule(
  blocks: number,
  total: number,
  shares: readonly [number, number, number] = [1, 0, 10],
): number[] {
  const sum = shares.reduce((a, b) => a + b, 0)
  const last = shares.map((share) => Math.floor((total * share) / sum))
  last[2]! += total - last.reduce((a, b) => a + b, 0)
  return Array.from({ length: blocks }, (_, i) => last[i - blocks + 3] ?? 0)
}

/** How many go at a time: at most half of what is left, the class token aside (FOLDER's overflow). */
export function mergeSteps(tokens: number, wanted: number): number[] {
  const steps: number[] = []
  for (let [left, rest] = [tokens, wanted]; rest > 0; ) {
    const step = Math.min(rest, Math.floor((left - 1) / 2))
    if (step < 1) break
    steps.push(step)
    left -= step
    rest -= step
  }
  return steps
}

interface Attention {
  readonly softmax: Node
  /** Keys, transposed: [N, heads, width, tokens]. */
  readonly keys: string
  /** The residual sum after it: [N, tokens, width]. */
  readonly sum: Node
  readonly tokens: number
  readonly width: number
}

function findAttentions(graph: Graph, shapes: Shapes): Attention[] {
  const wiring = new Wiring(graph)
  return graph.nodes.flatMap((softmax): Attention[] => {
    const dims = shapes.get(softmax.outputs[0]!)
    if (softmax.opType !== 'Softmax' || dims?.length !== 4 || dims[2] !== dims[3]) return []
    let product = wiring.producerOf(softmax.inputs[0]!)
    while (product !== undefined && product.opType !== 'MatMul') {
      const varying = product.inputs.filter((name) => !graph.initializers.has(name))
      if (varying.length !== 1) return []
      product = wiring.producerOf(varying[0]!)
    }
    if (product === undefined) return []
    let at: Node | undefined = softmax
    while (at !== undefined) {
      const next: Node | undefined = wiring.onlyConsumerOf(at.outputs[0]!)
      if (next?.opType === 'Add' && next.inputs.every((name) => !graph.initializers.has(name))) {
        const sum = shapes.get(next.outputs[0]!)
        if (sum?.length === 3 && sum[1] === dims[3])
          return [{ softmax, keys: product.inputs[1]!, sum: next, tokens: dims[3]!, width: sum[2]! }]
      }
      at = next
    }
    return []
  })
}

/** Nodes and constants of what is inserted, under names that begin alike. */
class Inserted {
  readonly nodes: Node[] = []
  readonly initializers = new Map<string, Tensor>()
  readonly #prefix: string
  readonly #opset: number
  #count = 0

  constructor(prefix: string, opset: number) {
    this.#prefix = prefix
    this.#opset = opset
  }

  constant(tensor: Tensor): string {
    const name = `${this.#prefix}.constant${this.#count++}`
    this.initializers.set(name, tensor)
    return name
  }

  integers(...values: number[]): string {
    return this.constant(int64Tensor(values))
  }

  add(
    opType: string,
    inputs: readonly string[],
    attributes: Node['attributes'] extends ReadonlyMap<string, infer A> ? A[] : never = [],
    outputs = 1,
  ): string[] {
    const id = this.#count++
    const names = Array.from(
      { length: outputs },
      (_, i) => `${this.#prefix}.${opType.toLowerCase()}${id}${i === 0 ? '' : `.${i}`}`,
    )
    this.nodes.push({
      name: names[0]!,
      opType,
      domain: '',
      inputs,
      outputs: names,
      attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
    })
    return names
  }

  one(...args: Parameters<Inserted['add']>): string {
    return this.add(...args)[0]!
  }

  /** Reductions take their axes as an input from opset 18 on (ReduceSum from 13). */
  reduce(opType: string, input: string, axis: number, keepsDimension: number): string {
    const keeps = intAttribute('keepdims', keepsDimension)
    return this.#opset >= 18
      ? this.one(opType, [input, this.integers(axis)], [keeps])
      : this.one(opType, [input], [intsAttribute('axes', [axis]), keeps])
  }

  slice(input: string, from: number, to: number, step: number): string {
    return this.one('Slice', [input, this.integers(from), this.integers(to), this.integers(1), this.integers(step)])
  }
}

const END = 2 ** 31 - 1

/** Values that merge together: each token of width `width`, weighted by size or, for sizes themselves, plain. */
interface Tokens {
  readonly values: string
  readonly width: number
}

/**
 * One bipartite matching (ToMe): tokens at even places each know the odd one most like them; the `count` with the
 * most alike go into theirs. Kept ones stay in order, so that a class token stays first.
 */
function mergeOnce(
  made: Inserted,
  { x, size, metric }: { x: Tokens; size: string; metric: Tokens },
  tokens: number,
  count: number,
  hasClassToken: boolean,
): { x: Tokens; size: string; metric: Tokens } {
  const even = Math.ceil(tokens / 2)
  const norm = made.one('Add', [made.reduce('ReduceL2', metric.values, 2, 1), made.constant(floatTensor([1e-6], [1]))])
  const unit = made.one('Div', [metric.values, norm])
  const [a, b] = [made.slice(unit, 0, END, 2), made.slice(unit, 1, END, 2)]
  let scores = made.one('MatMul', [a, made.one('Transpose', [b], [intsAttribute('perm', [0, 2, 1])])])
  if (hasClassToken) {
    const never = Float32Array.from({ length: even }, (_, i) => (i === 0 ? -1e4 : 0))
    scores = made.one('Add', [scores, made.constant(floatTensor(never, [1, even, 1]))])
  }
  const best = made.reduce('ReduceMax', scores, 2, 0)
  const partner = made.one('ArgMax', [scores], [intAttribute('axis', 2), intAttribute('keepdims', 0)])
  const [, order] = made.add('TopK', [best, made.integers(even)], [intAttribute('axis', 1)], 2)
  const gone = made.slice(order!, 0, count, 1)
  const smallest = [intAttribute('axis', 1), intAttribute('largest', 0)]
  const [kept] = made.add('TopK', [made.slice(order!, count, END, 1), made.integers(even - count)], smallest, 2)
  const target = made.one('GatherElements', [partner, gone], [intAttribute('axis', 1)])
  const merged = (values: string, width: number): string => {
    const [left, right] = [made.slice(values, 0, END, 2), made.slice(values, 1, END, 2)]
    const along = (index: string): string => {
      const column = made.one('Unsqueeze', [index, made.integers(2)])
      return width === 1 ? column : made.one('Expand', [column, made.integers(1, 1, width)])
    }
    const axis = intAttribute('axis', 1)
    const moving = made.one('GatherElements', [left, along(gone)], [axis])
    const staying = made.one('GatherElements', [left, along(kept!)], [axis])
    const filled = made.one(
      'ScatterElements',
      [right, along(target), moving],
      [axis, stringAttribute('reduction', 'add')],
    )
    return made.one('Concat', [staying, filled], [axis])
  }
  const sizes = merged(size, 1)
  const weighted = ({ values, width }: Tokens): Tokens => ({
    values: made.one('Div', [merged(made.one('Mul', [values, size]), width), sizes]),
    width,
  })
  return { x: weighted(x), size: sizes, metric: weighted(metric) }
}

/** Shapes that name the number of tokens leave it open; undefined where one cannot. */
function openReshape(node: Node, target: readonly number[], tokens: number): number[] {
  const at = target.indexOf(tokens)
  if (at !== 1 || target.indexOf(tokens, 2) !== -1 || target.includes(-1))
    throw new ModelError(
      `Cannot merge tokens: ${describeNode(node)} shapes to ${target.join(' x ')}; expected the ${tokens} tokens on the second axis alone, as no window or grid of tokens can lose some`,
    )
  return target.map((dim, i) => (i === at ? -1 : dim))
}

/**
 * Merge tokens of a vision transformer that are alike, between attention and MLP, at shapes that stay fixed: ToMe's
 * matching, and FOLDER's repeated one where more than half go. The class token and the answers' shape stay.
 *
 * @param shapes Of every value; the arithmetic on shapes settled (`settle`).
 * @throws {ModelError} If there is no attention, the opset is too old, or tokens lie in windows or grids.
 */
export function mergeTokens(
  graph: Graph,
  shapes: Shapes,
  { schedule, hasClassToken = true, isProportional = true }: TokenOptions,
): { graph: Graph; report: TokenReport } {
  const attentions = findAttentions(graph, shapes)
  if (attentions.length === 0)
    throw new ModelError(
      'Cannot merge tokens: the model has no attention (a Softmax over [N, heads, tokens, tokens] with a residual sum after it)',
    )
  if (graph.opset < 16)
    throw new ModelError(
      `Cannot merge tokens: found opset ${graph.opset}, expected 16 or newer, where ScatterElements can add; convert the model first`,
    )
  if (schedule.length !== attentions.length)
    throw new ModelError(
      `Cannot merge tokens: found ${attentions.length} attentions, expected ${schedule.length} of the schedule`,
    )
  const { tokens: first } = attentions[0]!
  const inserted = new Map<Node, Inserted>()
  const renamed = new Map<string, string>()
  const initializers = new Map(graph.initializers)
  const biased = new Map<Node, string>()
  const steps: number[][] = []
  const left: number[] = []
  let size: string | undefined
  let tokens = first
  for (const [i, { softmax, keys, sum, width }] of attentions.entries()) {
    const made = new Inserted(`tokens${i}`, graph.opset)
    if (size !== undefined && isProportional) {
      const before = new Inserted(`tokens${i}.attention`, graph.opset)
      const row = before.one('Transpose', [before.one('Log', [size])], [intsAttribute('perm', [0, 2, 1])])
      biased.set(softmax, before.one('Add', [softmax.inputs[0]!, before.one('Unsqueeze', [row, before.integers(1)])]))
      inserted.set(softmax, before)
    }
    const own = mergeSteps(tokens, schedule[i]!)
    steps.push(own)
    if (own.length > 0) {
      const metric = made.one('Transpose', [made.reduce('ReduceMean', keys, 1, 0)], [intsAttribute('perm', [0, 2, 1])])
      let at = {
        x: { values: sum.outputs[0]!, width },
        size: size ?? made.constant(floatTensor(new Float32Array(tokens).fill(1), [1, tokens, 1])),
        metric: { values: metric, width: shapes.get(keys)![2]! },
      }
      for (const count of own) {
        at = mergeOnce(made, at, tokens, count, hasClassToken)
        tokens -= count
      }
      renamed.set(sum.outputs[0]!, at.x.values)
      size = at.size
      inserted.set(sum, made)
    }
    left.push(tokens)
  }
  const nodes: Node[] = []
  let isAfter = false
  for (const node of graph.nodes) {
    const before = biased.has(node) ? inserted.get(node)! : undefined
    if (before !== undefined) nodes.push(...before.nodes)
    let inputs = node.inputs.map((name) => renamed.get(name) ?? name)
    if (biased.has(node)) inputs = [biased.get(node)!, ...inputs.slice(1)]
    if (isAfter && node.opType === 'Reshape') {
      const target = graph.initializers.get(node.inputs[1]!)
      const listed = target && integersOf(target, node.inputs[1]!)
      if (listed?.includes(first)) {
        const name = `${node.outputs[0]}.shape`
        initializers.set(name, int64Tensor(openReshape(node, listed, first)))
        inputs = [inputs[0]!, name]
      }
    }
    if (
      isAfter &&
      node.opType === 'ReduceMean' &&
      shapes.get(node.inputs[0]!)?.length === 3 &&
      shapes.get(node.outputs[0]!)?.[1] !== first
    )
      throw new ModelError(
        `Cannot merge tokens: ${describeNode(node)} takes the mean of all tokens, which would have to be weighted by size; expected a class token`,
      )
    nodes.push({ ...node, inputs })
    if (renamed.has(node.outputs[0]!)) {
      nodes.push(...inserted.get(node)!.nodes)
      isAfter = true
    }
  }
  for (const made of inserted.values()) for (const [name, tensor] of made.initializers) initializers.set(name, tensor)
  return { graph: sweep({ ...graph, nodes, initializers }), report: { tokens: left, steps } }
}

/** How many attentions a graph has. */
export const countAttentions = (graph: Graph, shapes: Shapes): number => findAttentions(graph, shapes).length
