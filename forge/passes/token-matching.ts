import { intAttribute, intsAttribute, stringAttribute } from '../graph/attributes.ts'
import { END, type Insertion } from '../graph/insertion.ts'
import { floatTensor } from '../graph/tensor.ts'

/** Values of [N, tokens, width]. */
interface Tokens {
  readonly values: string
  readonly width: number
}

/** What is merged: the tokens, how many each stands for [N, tokens, 1], and what tells how alike they are. */
export interface Merging {
  readonly x: Tokens
  readonly size: string
  readonly metric: Tokens
}

export interface Step {
  readonly tokens: number
  /** How many go: at most half of them, the class token aside. */
  readonly count: number
  readonly hasClassToken: boolean
}

const AXIS = intAttribute('axis', 1)

/** Cosines between tokens at even and at odd places [N, even, odd]; the class token is like nobody. */
function similarity(made: Insertion, metric: string, { tokens, hasClassToken }: Step): string {
  const norm = made.one('Add', [made.reduce('ReduceL2', metric, 2, true), made.constant(floatTensor([1e-6], [1]))])
  const unit = made.one('Div', [metric, norm])
  const [a, b] = [made.slice(unit, 1, 0, END, 2), made.slice(unit, 1, 1, END, 2)]
  const scores = made.one('MatMul', [a, made.one('Transpose', [b], [intsAttribute('perm', [0, 2, 1])])])
  if (!hasClassToken) return scores
  const even = Math.ceil(tokens / 2)
  const never = Float32Array.from({ length: even }, (_, i) => (i === 0 ? -1e4 : 0))
  return made.one('Add', [scores, made.constant(floatTensor(never, [1, even, 1]))])
}

/**
 * One bipartite matching (ToMe, methods.md 10): tokens at even places each know the odd one most like them; the `count`
 * most alike go into theirs. Kept ones stay in order and come first, so that a class token stays first; the odd ones
 * follow in theirs. Among equals the one that comes first goes first.
 */
export function mergeOnce(made: Insertion, { x, size, metric }: Merging, step: Step): Merging {
  const { tokens, count } = step
  const even = Math.ceil(tokens / 2)
  const scores = similarity(made, metric.values, step)
  const best = made.reduce('ReduceMax', scores, 2, false)
  const partner = made.one('ArgMax', [scores], [intAttribute('axis', 2), intAttribute('keepdims', 0)])
  const [, order] = made.add('TopK', [best, made.integers(even)], [AXIS], 2)
  const gone = made.slice(order!, 1, 0, count)
  const target = made.one('GatherElements', [partner, gone], [AXIS])
  const kept =
    count === even
      ? undefined
      : made.add(
          'TopK',
          [made.slice(order!, 1, count, END), made.integers(even - count)],
          [AXIS, intAttribute('largest', 0)],
          2,
        )[0]!
  const merged = (values: string, width: number): string => {
    const [left, right] = [made.slice(values, 1, 0, END, 2), made.slice(values, 1, 1, END, 2)]
    const along = (index: string): string => {
      const column = made.one('Unsqueeze', [index, made.integers(2)])
      return width === 1 ? column : made.one('Expand', [column, made.integers(1, 1, width)])
    }
    const moving = made.one('GatherElements', [left, along(gone)], [AXIS])
    const added = [AXIS, stringAttribute('reduction', 'add')]
    const filled = made.one('ScatterElements', [right, along(target), moving], added)
    if (kept === undefined) return filled
    return made.one('Concat', [made.one('GatherElements', [left, along(kept)], [AXIS]), filled], [AXIS])
  }
  const sizes = merged(size, 1)
  const mean = ({ values, width }: Tokens): Tokens => ({
    values: made.one('Div', [merged(made.one('Mul', [values, size]), width), sizes]),
    width,
  })
  return { x: mean(x), size: sizes, metric: mean(metric) }
}
