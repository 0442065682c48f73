import { ModelError } from '@espalier/shared/errors'
import type { Graph } from '../graph/graph.ts'
import { type InputShape, openRunner, randomFeeds, type Values } from '../graph/run.ts'

export interface Difference {
  /** Largest difference over the largest value of the original, both over all runs. */
  readonly relative: number
  readonly value: string
}

/** How far a graph is from the one it was made of. */
export interface Verification {
  readonly runs: number
  /** Of the graph's outputs. */
  readonly outputs: Difference
  /** Of all values of [N, C, H, W] that both graphs have, a place or more away from the edge, and at the edge. */
  readonly interior: Difference | null
  readonly border: Difference | null
}

class Largest {
  #scale = 0
  #difference = 0

  add(a: number, b: number): void {
    this.#scale = Math.max(this.#scale, Math.abs(a))
    this.#difference = Math.max(this.#difference, Number.isNaN(b) ? Number.POSITIVE_INFINITY : Math.abs(a - b))
  }

  get relative(): number {
    return this.#difference === 0 ? 0 : this.#difference / Math.max(this.#scale, 1e-30)
  }
}

const isFloating = ({ type }: Values): boolean => type === 'float32' || type === 'float64'

const worst = (found: ReadonlyMap<string, Largest>): Difference | null =>
  [...found].reduce<Difference | null>((most, [value, largest]) => {
    const { relative } = largest
    return most === null || relative > most.relative ? { relative, value } : most
  }, null)

/**
 * Run both graphs on the same random inputs.
 *
 * @throws {ModelError} If either cannot run, or an output's shape differs.
 */
export async function verify(
  original: Graph,
  made: Graph,
  inputs: readonly InputShape[],
  { runs = 2, name = 'model', withInner = true }: { runs?: number; name?: string; withInner?: boolean } = {},
): Promise<Verification> {
  const outputs = original.outputs.map((output) => output.name)
  const own = new Set(made.nodes.flatMap((node) => node.outputs))
  const common = withInner
    ? original.nodes.flatMap((node) => node.outputs.filter((value) => value !== '' && own.has(value)))
    : []
  const wanted = [...new Set([...outputs, ...common])]
  const [before, after] = [
    await openRunner(original, name, { outputs: wanted }),
    await openRunner(made, `${name}, rewritten`, { outputs: wanted }),
  ]
  const found = { outputs: new Map(), interior: new Map(), border: new Map() } as Record<
    'outputs' | 'interior' | 'border',
    Map<string, Largest>
  >
  const largest = (kind: keyof typeof found, value: string): Largest => {
    const existing = found[kind].get(value) ?? new Largest()
    found[kind].set(value, existing)
    return existing
  }
  try {
    for (let run = 0; run < runs; run++) {
      const feeds = randomFeeds(inputs, run + 1)
      const [a, b] = [await before.run(feeds), await after.run(feeds)]
      for (const value of wanted) {
        const [x, y] = [a[value]!, b[value]!]
        if (x.dims.join() !== y.dims.join())
          throw new ModelError(
            `Cannot verify "${name}": "${value}" is ${y.dims.join(' x ')}, expected ${x.dims.join(' x ')}`,
          )
        if (!isFloating(x) || !isFloating(y)) continue
        const [p, q] = [x.data as Float32Array, y.data as Float32Array]
        if (outputs.includes(value)) for (let i = 0; i < p.length; i++) largest('outputs', value).add(p[i]!, q[i]!)
        if (x.dims.length !== 4) continue
        const [height, width] = x.dims.slice(2) as [number, number]
        const [interior, border] = [largest('interior', value), largest('border', value)]
        for (let i = 0; i < p.length; i++) {
          const [row, column] = [Math.floor(i / width) % height, i % width]
          const isEdge = row === 0 || column === 0 || row === height - 1 || column === width - 1
          ;(isEdge ? border : interior).add(p[i]!, q[i]!)
        }
      }
    }
  } finally {
    await Promise.all([before.close(), after.close()])
  }
  return {
    runs,
    outputs: worst(found.outputs) ?? { relative: 0, value: outputs[0]! },
    interior: worst(found.interior),
    border: worst(found.border),
  }
}
