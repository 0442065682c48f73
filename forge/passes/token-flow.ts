import { ModelError } from '@espalier/shared/errors'
import { describeNode, intOf, intsOf } from '../graph/attributes.ts'
import type { Shapes } from '../graph/cost.ts'
import type { Graph, Node } from '../graph/graph.ts'
import { ELEMENTWISE, NUMBERWISE } from '../graph/operator-kinds.ts'
import { reshapedAxis } from '../graph/reshaped-axis.ts'
import { integersOf } from '../graph/tensor.ts'

/** Where a value has tokens that were merged. */
export interface Placement {
  /** Axes that run over tokens, each over all of them. */
  readonly axes: readonly number[]
  /** After how many mergings. */
  readonly stage: number
  /** Whether the class token was cut off. */
  readonly isCut: boolean
}

/** What an operator does to tokens, beside passing them on. */
export type Effect =
  | { readonly kind: 'passes'; readonly placement: Placement }
  /** One token is taken out, or their mean: what it makes has none. */
  | { readonly kind: 'ends' }
  /** A mean over tokens, which sizes must weigh. */
  | { readonly kind: 'averages'; readonly axis: number; readonly placement: Placement }
  /** A softmax over tokens, which sizes may weigh. */
  | { readonly kind: 'weighs'; readonly axis: number; readonly placement: Placement }

function refuse(node: Node, reason: string): never {
  throw new ModelError(`Cannot merge tokens: ${describeNode(node)} ${reason}`)
}

/** Looks at one node at a time; the values that it reads have been placed. */
export class TokenFlow {
  readonly #graph: Graph
  readonly #shapes: Shapes
  readonly #hasClassToken: boolean
  readonly #placed = new Map<string, Placement>()

  constructor(graph: Graph, shapes: Shapes, hasClassToken: boolean) {
    this.#graph = graph
    this.#shapes = shapes
    this.#hasClassToken = hasClassToken
  }

  place(value: string, placement: Placement): void {
    this.#placed.set(value, placement)
  }

  of(value: string): Placement | undefined {
    return this.#placed.get(value)
  }

  /**
   * What a node does to tokens; undefined where it reads none.
   *
   * @throws {ModelError} If it needs all tokens, or each in its place.
   */
  effectOf(node: Node): Effect | undefined {
    const [input] = node.inputs
    if (!node.inputs.some((name) => this.#placed.has(name))) return undefined
    if (node.domain !== '') refuse(node, `is of ${node.domain}, whose use of tokens is not known`)
    if (node.opType === 'MatMul' || node.opType === 'Gemm') return this.#passes(this.#product(node))
    if (ELEMENTWISE.has(node.opType) || node.opType === 'Where') return this.#passes(this.#aligned(node))
    if (node.opType === 'Concat') return this.#passes(this.#concat(node))
    const placement = this.#placed.get(input!)
    if (placement === undefined) return refuse(node, 'reads tokens where it reads no values')
    return this.#single(node, placement)
  }

  #dims(value: string): readonly number[] {
    return this.#shapes.get(value) ?? []
  }

  #integers(name: string | undefined): number[] | undefined {
    const tensor = name ? this.#graph.initializers.get(name) : undefined
    return tensor && integersOf(tensor, name!)
  }

  #passes(placement: Placement): Effect {
    return { kind: 'passes', placement }
  }

  /** Operators of one input. */
  #single(node: Node, placement: Placement): Effect {
    const { axes } = placement
    const rank = this.#dims(node.inputs[0]!).length
    const at = (axis: number): number => (axis + rank) % rank
    const moved = (move: (axis: number) => number): Effect => this.#passes({ ...placement, axes: axes.map(move) })
    if (NUMBERWISE.has(node.opType)) return this.#passes(placement)
    if (node.opType.startsWith('Reduce')) return this.#reduction(node, placement, rank)
    switch (node.opType) {
      case 'Softmax': {
        const axis = at(intOf(node, 'axis', -1))
        return axes.includes(axis) ? { kind: 'weighs', axis, placement } : this.#passes(placement)
      }
      case 'LayerNormalization':
        if (axes.some((axis) => axis >= at(intOf(node, 'axis', -1)))) return refuse(node, 'normalises over all tokens')
        return this.#passes(placement)
      case 'Transpose': {
        const perm = intsOf(
          node,
          'perm',
          Array.from({ length: rank }, (_, i) => rank - 1 - i),
        )
        return moved((axis) => perm.indexOf(axis))
      }
      case 'Reshape':
      case 'Flatten':
        return moved((axis) => this.#reshaped(node, axis))
      case 'Squeeze':
      case 'Unsqueeze': {
        const wide = node.opType === 'Squeeze' ? rank : this.#dims(node.outputs[0]!).length
        const given = node.inputs[1] ? this.#integers(node.inputs[1]) : intsOf(node, 'axes', [])
        const named = (given ?? []).map((axis) => (axis + wide) % wide).sort((a, b) => a - b)
        if (named.length === 0) return refuse(node, 'names no axes')
        return node.opType === 'Squeeze'
          ? moved((axis) => axis - named.filter((each) => each < axis).length)
          : moved((axis) => named.reduce((to, each) => (each <= to ? to + 1 : to), axis))
      }
      case 'Gather':
        return this.#gather(node, placement, at(intOf(node, 'axis', 0)))
      case 'Slice':
        return this.#slice(node, placement, at)
      case 'Split':
        if (axes.includes(at(intOf(node, 'axis', 0)))) return refuse(node, 'splits the tokens')
        return this.#passes(placement)
      default:
        return refuse(node, 'needs all tokens, or each in its place; no window or grid of them can lose some')
    }
  }

  #reduction(node: Node, placement: Placement, rank: number): Effect {
    const given = node.inputs[1] ? this.#integers(node.inputs[1]) : intsOf(node, 'axes', [])
    const named = (given ?? []).map((axis) => (axis + rank) % rank)
    const over = placement.axes.filter((axis) => named.length === 0 || named.includes(axis))
    if (over.length === 0) {
      const isKept = intOf(node, 'keepdims', 1) === 1
      const axes = placement.axes.map((axis) => (isKept ? axis : axis - named.filter((each) => each < axis).length))
      return this.#passes({ ...placement, axes })
    }
    if (node.opType !== 'ReduceMean' || named.length !== 1 || placement.axes.length !== 1)
      return refuse(node, 'reduces over tokens; expected a mean over them alone, which sizes can weigh')
    return { kind: 'averages', axis: over[0]!, placement }
  }

  #reshaped(node: Node, axis: number): number {
    const [before, after] = [this.#dims(node.inputs[0]!), this.#dims(node.outputs[0]!)]
    const found = reshapedAxis(before, after, axis)
    if (found?.each !== 1)
      return refuse(
        node,
        `shapes ${before.join(' x ')} to ${after.join(' x ')}; expected the ${before[axis]} tokens on an axis of their own, as no window or grid of them can lose some`,
      )
    if (node.opType === 'Flatten') return found.axis
    const target = this.#integers(node.inputs[1])
    if (target === undefined) return refuse(node, 'has a shape that is computed')
    if (target[found.axis] === 0 && found.axis !== axis) return refuse(node, 'copies the size of another axis')
    return found.axis
  }

  #gather(node: Node, placement: Placement, axis: number): Effect {
    const indices = this.#graph.initializers.get(node.inputs[1]!)
    if (placement.axes.includes(axis)) {
      const listed = indices && integersOf(indices, node.inputs[1]!)
      const isClass = this.#hasClassToken && !placement.isCut && listed?.length === 1 && listed[0] === 0
      if (!isClass || placement.axes.length > 1)
        return refuse(node, `picks tokens by number; expected ${this.#hasClassToken ? 'the class token' : 'none'}`)
      return { kind: 'ends' }
    }
    const added = this.#dims(node.inputs[1]!).length - 1
    return this.#passes({ ...placement, axes: placement.axes.map((each) => (each > axis ? each + added : each)) })
  }

  #slice(node: Node, placement: Placement, at: (axis: number) => number): Effect {
    const [starts, ends, named, steps] = node.inputs.slice(1).map((name) => this.#integers(name))
    if (starts === undefined || ends === undefined) return refuse(node, 'has bounds that are computed')
    const axes = named?.map(at) ?? starts.map((_, i) => i)
    const i = axes.findIndex((axis) => placement.axes.includes(axis))
    if (i === -1) return this.#passes(placement)
    const tokens = this.#dims(node.inputs[0]!)[axes[i]!]!
    const isOne = placement.axes.length === 1 && axes.filter((axis) => placement.axes.includes(axis)).length === 1
    if (this.#hasClassToken && isOne && !placement.isCut && (steps?.[i] ?? 1) === 1) {
      if (starts[i] === 0 && ends[i] === 1) return { kind: 'ends' }
      if (starts[i] === 1 && ends[i]! >= tokens) return this.#passes({ ...placement, isCut: true })
    }
    return refuse(node, 'cuts tokens out by number; expected the class token or all others')
  }

  #concat(node: Node): Placement {
    const placements = node.inputs.map((name) => this.#placed.get(name))
    const [first] = placements as [Placement]
    const rank = this.#dims(node.outputs[0]!).length
    if (placements.some((each) => each === undefined || !isSame(each, first)))
      return refuse(node, 'puts tokens of different mergings side by side')
    if (first.axes.includes((intOf(node, 'axis', 0) + rank) % rank)) return refuse(node, 'adds tokens to tokens')
    return first
  }

  /** Operands aligned at their ends. */
  #aligned(node: Node): Placement {
    const rank = this.#dims(node.outputs[0]!).length
    const all = node.inputs.flatMap((name): Placement[] => {
      const own = this.#placed.get(name)
      const shift = rank - this.#dims(name).length
      return own === undefined ? [] : [{ ...own, axes: own.axes.map((axis) => axis + shift) }]
    })
    const axes = [...new Set(all.flatMap((each) => each.axes))].sort((a, b) => a - b)
    const [{ stage, isCut }] = all as [Placement]
    if (all.some((each) => each.stage !== stage || each.isCut !== isCut))
      return refuse(node, 'puts tokens of different mergings together')
    for (const name of node.inputs) {
      const dims = this.#dims(name)
      const shift = rank - dims.length
      const own = this.#placed.get(name)?.axes.map((axis) => axis + shift) ?? []
      if (axes.some((axis) => (dims[axis - shift] ?? 1) !== 1 && !own.includes(axis)))
        return refuse(node, `puts tokens together with "${name}", which has a value for each of all tokens`)
    }
    return { axes, stage, isCut }
  }

  #product(node: Node): Placement {
    const [a, b] = node.inputs as [string, string]
    const [p, q] = [this.#placed.get(a), this.#placed.get(b)]
    const { stage, isCut } = (p ?? q)!
    if (p !== undefined && q !== undefined && (p.stage !== q.stage || p.isCut !== q.isCut))
      return refuse(node, 'multiplies tokens of different mergings')
    if (
      node.opType === 'Gemm' &&
      (q !== undefined || intOf(node, 'transA', 0) !== 0 || this.#placed.has(node.inputs[2] ?? ''))
    )
      return refuse(node, 'multiplies by tokens')
    const ranks = [this.#dims(a).length, this.#dims(b).length] as const
    const out = Math.max(...ranks)
    const inA = (p?.axes ?? []).map((axis) => axis - ranks[0])
    const inB = (q?.axes ?? []).map((axis) => axis - ranks[1])
    // Axes from the end: -1 of one and -2 of the other are summed over.
    if (inA.includes(-1) !== inB.includes(-2)) return refuse(node, 'sums over all tokens with a weight for each')
    const left = [...inA.filter((axis) => axis !== -1), ...inB.filter((axis) => axis !== -2)]
    return { axes: [...new Set(left.map((axis) => axis + out))].sort((x, y) => x - y), stage, isCut }
  }
}

const isSame = (a: Placement, b: Placement): boolean =>
  a.stage === b.stage && a.isCut === b.isCut && a.axes.join() === b.axes.join()
