import { floatsOf, type Tensor } from '@espalier/forge/graph/tensor'
import { HEADS, PATCHES, type VitOptions, WIDTH } from './tiny-vit.ts'

/** One row a token. */
export type Rows = number[][]

export interface Merged {
  x: Rows
  size: number[]
  metric: Rows
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** One bipartite matching, step by step as ToMe's paper has it. */
export function matchOnce({ x, size, metric }: Merged, count: number, hasClassToken: boolean): Merged {
  const unit = metric.map((row) => row.map((value) => value / (Math.sqrt(dot(row, row)) + 1e-6)))
  const even = x.map((_, i) => i).filter((i) => i % 2 === 0)
  const odd = x.map((_, i) => i).filter((i) => i % 2 === 1)
  const edges = even.map((i) => {
    const scores = odd.map((j) => (hasClassToken && i === 0 ? Number.NEGATIVE_INFINITY : dot(unit[i]!, unit[j]!)))
    const best = Math.max(...scores)
    return { from: i, to: odd[scores.indexOf(best)]!, best }
  })
  // Sorting is stable: among equals the first goes first.
  const gone = [...edges].sort((a, b) => (a.best === b.best ? 0 : b.best - a.best)).slice(0, count)
  const left = [...even.filter((i) => !gone.some(({ from }) => from === i)), ...odd]
  const membersOf = (i: number): number[] => [i, ...gone.filter(({ to }) => to === i).map(({ from }) => from)]
  const average = (rows: Rows): Rows =>
    left.map((i) => {
      const members = membersOf(i)
      const total = members.reduce((sum, j) => sum + size[j]!, 0)
      return rows[i]!.map((_, c) => members.reduce((sum, j) => sum + rows[j]![c]! * size[j]!, 0) / total)
    })
  return {
    x: average(x),
    size: left.map((i) => membersOf(i).reduce((sum, j) => sum + size[j]!, 0)),
    metric: average(metric),
  }
}

/** The tiny vision transformer in plain arithmetic, merging `steps[block]` after each attention. */
export function runVit(
  weights: Readonly<Record<string, Tensor>>,
  image: ArrayLike<number>,
  steps: readonly (readonly number[])[],
  {
    head = 'class',
    hasClassToken = true,
    isFused = false,
    isProportional = true,
  }: VitOptions & { isProportional?: boolean },
): { logits: number[]; sizes: number[][] } {
  const of = (name: string): number[] => [...floatsOf(weights[name]!, name)]
  const linear = (rows: Rows, name: string): Rows => {
    const [w, b] = [of(`${name}.w`), of(`${name}.b`)]
    return rows.map((row) =>
      b.map((shift, o) => row.reduce((sum, value, i) => sum + value * w[i * b.length + o]!, shift)),
    )
  }
  const norm = (rows: Rows, name: string): Rows => {
    const [scale, shift] = [of(`${name}.scale`), of(`${name}.shift`)]
    return rows.map((row) => {
      const centre = mean(row)
      const deviation = Math.sqrt(mean(row.map((value) => (value - centre) ** 2)) + 1e-5)
      return row.map((value, i) => ((value - centre) / deviation) * scale[i]! + shift[i]!)
    })
  }
  const plus = (a: Rows, b: Rows): Rows => a.map((row, i) => row.map((value, j) => value + b[i]![j]!))
  const [kernel, bias] = [of('patch.w'), of('patch.b')]
  const patches = Array.from({ length: PATCHES }, (_, p) =>
    bias.map((shift, o) => {
      let sum = shift
      for (let c = 0; c < 3; c++)
        for (let i = 0; i < 4; i++) {
          const [row, column] = [2 * Math.floor(p / 4) + (i >> 1), 2 * (p % 4) + (i & 1)]
          sum += kernel[(o * 3 + c) * 4 + i]! * image[c * 64 + row * 8 + column]!
        }
      return sum
    }),
  )
  const positions = of('positions')
  let x: Rows = hasClassToken ? [of('class'), ...patches] : patches
  const all = x.length
  x = x.map((row, i) => row.map((value, j) => value + positions[i * WIDTH + j]!))
  let size: number[] = Array<number>(all).fill(1)
  const sizes: number[][] = []
  const each = WIDTH / HEADS
  for (const [block, own] of steps.entries()) {
    const name = `block${block}`
    const normed = norm(x, `${name}.norm1`)
    const fused = isFused ? linear(normed, `${name}.qkv`) : undefined
    const part = (key: string, i: number): Rows =>
      fused?.map((row) => row.slice(i * WIDTH, (i + 1) * WIDTH)) ?? linear(normed, `${name}.${key}`)
    const [q, k, v] = [part('q', 0), part('k', 1), part('v', 2)]
    const mixed: Rows = x.map(() => [])
    for (let h = 0; h < HEADS; h++) {
      const cut = (row: readonly number[]): number[] => row.slice(h * each, (h + 1) * each)
      for (const [i, row] of q.entries()) {
        const scores = k.map((key, j) => {
          const score = dot(cut(row), cut(key)) / Math.sqrt(each)
          return Math.exp(score + (isProportional ? Math.log(size[j]!) : 0))
        })
        const total = scores.reduce((a, b) => a + b, 0)
        for (let c = 0; c < each; c++)
          mixed[i]!.push(scores.reduce((sum, score, j) => sum + (score / total) * cut(v[j]!)[c]!, 0))
      }
    }
    x = plus(x, linear(mixed, `${name}.out`))
    let merged: Merged = {
      x,
      size,
      metric: k.map((row) =>
        Array.from({ length: each }, (_, c) => mean(Array.from({ length: HEADS }, (_, h) => row[h * each + c]!))),
      ),
    }
    for (const count of own) merged = matchOnce(merged, count, hasClassToken)
    x = merged.x
    size = merged.size
    sizes.push(size)
    const hidden = linear(norm(x, `${name}.norm2`), `${name}.up`).map((row) => row.map((value) => Math.max(0, value)))
    x = plus(x, linear(hidden, `${name}.down`))
  }
  x = norm(x, 'norm')
  const from = head === 'patches' ? 1 : 0
  const total = size.slice(from).reduce((a, b) => a + b, 0)
  const pooled =
    head === 'class'
      ? x[0]!
      : x[0]!.map((_, c) => x.slice(from).reduce((sum, row, i) => sum + row[c]! * size[from + i]!, 0) / total)
  return { logits: linear([pooled], 'head')[0]!, sizes }
}
