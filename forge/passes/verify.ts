import { ModelError } from '@espalier/shared/errors'
import type { Graph } from '../graph/graph.ts'
import { type InputShape, openRunner, randomFeeds, toNumbers, type Values } from '../graph/run.ts'

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
    if (Number.isFinite(a)) this.#scale = Math.max(this.#scale, Math.abs(a))
    // The same infinity, or no number in both, is no difference; one of them alone is the largest.
    const apart = Object.is(a, b) ? 0 : Math.abs(a - b)
    this.#difference = Math.max(this.#difference, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart)
  }

  get relative(): number {
    return this.#difference === 0 ? 0 : this.#difference / Math.max(this.#scale, 1e-30)
  }
}

/** Strings and the like are not compared. */
const isNumeric = ({ type }: Values): boolean => /^(float|int|uint|bool)/.test(type)

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
        if (!isNumeric(x) || !isNumeric(y)) continue
        const [p, q] = [toNumbers(x), toNumbers(y)]
        if (outputs.includes(value)) {
          const whole = largest('outputs', value)
          for (let i = 0; i < p.length; i++) whole.add(Number(p[i]), Number(q[i]))
        }
        if (x.dims.length !== 4) continue
        const [height, width] = x.dims.slice(2) as [number, number]
        const [interior, border] = [largest('interior', value), largest('border', value)]
        for (let i = 0; i < p.length; i++) {
          const [row, column] = [Math.floor(i / width) % height, i % width]
          const isEdge = row === 0 || column === 0 || row === height - 1 || column === width - 1
          ;(isEdge ? border : interior).add(Number(p[i]), Number(q[i]))
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
