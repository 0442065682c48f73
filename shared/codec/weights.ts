import { IntegrityError, ModelError } from '../errors.ts'
import type { GraphEntry, TensorEntry, TensorUpdate } from '../manifest/manifest.ts'
import type { Family } from '../manifest/open-family.ts'

export interface WeightTensor {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

/** IEEE 754 binary16 to binary32: exact. */
function widenFloat16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

function toFloat32(data: Uint8Array, entry: TensorEntry, name: string): Float32Array {
  const count = entry.shape.reduce((product, size) => product * size, 1)
  const width = entry.dtype === 'float16' ? 2 : 4
  if (data.byteLength !== count * width)
    throw new IntegrityError(
      `Cannot load tensor "${name}": found ${data.byteLength} bytes, expected ${count * width} for ${entry.dtype} [${entry.shape}]`,
    )
  // Copied first: a blob may lie at any offset of its buffer, and typed arrays need an aligned one.
  const aligned = new Uint8Array(data).buffer
  if (entry.dtype === 'float32') return new Float32Array(aligned)
  const halves = new Uint16Array(aligned)
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) values[i] = widenFloat16(halves[i]!)
  return values
}

/** W + alpha * up @ down, with up [rows, rank] and down [rank, columns]; rows * columns values. */
function addLowRank(base: Float32Array, up: WeightTensor, down: WeightTensor, alpha: number): Float32Array {
  const [rows, rank] = up.shape as [number, number]
  const columns = down.shape[1]!
  const merged = Float32Array.from(base)
  for (let row = 0; row < rows; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = alpha * up.values[row * rank + r]!
      const [to, from] = [row * columns, r * columns]
      for (let column = 0; column < columns; column++) merged[to + column]! += factor * down.values[from + column]!
    }
  }
  return merged
}

/** The tensors of one graph, with its adapter merged at any alpha (MALICE: exact, no cost at run time). */
export class Weights {
  readonly #tensors: ReadonlyMap<string, WeightTensor>
  readonly #updates: Readonly<Record<string, TensorUpdate>>
  readonly #graph: GraphEntry
  #merged: { alpha255: number; feeds: ReadonlyMap<string, WeightTensor> } | undefined

  private constructor(
    graph: GraphEntry,
    updates: Readonly<Record<string, TensorUpdate>>,
    tensors: ReadonlyMap<string, WeightTensor>,
  ) {
    this.#graph = graph
    this.#updates = updates
    this.#tensors = tensors
  }

  /** @throws {IntegrityError} If a tensor is absent or is not what the manifest says. */
  static async load(family: Family, graph: GraphEntry): Promise<Weights> {
    const all = family.manifest.adapters[0]?.updates ?? {}
    const updates = Object.fromEntries(
      Object.entries(all).filter(([name]) => Object.values(graph.weights).includes(name)),
    )
    const names = new Set(Object.values(graph.weights))
    for (const update of Object.values(updates))
      for (const [field, name] of Object.entries(update)) if (field !== 'kind') names.add(name)
    const tensors = new Map<string, WeightTensor>()
    for (const name of names) {
      const entry = family.manifest.tensors[name]
      if (entry === undefined)
        throw new IntegrityError(`Cannot load tensor "${name}" of "${family.manifest.family}": the manifest has none`)
      tensors.set(name, { shape: entry.shape, values: toFloat32(await family.readBlob(entry), entry, name) })
    }
    const weights = new Weights(graph, updates, tensors)
    for (const [name, update] of Object.entries(updates)) weights.#checkUpdate(name, update)
    return weights
  }

  /** Input name -> tensor at this alpha. Computed once for each change. */
  at(alpha255: number): ReadonlyMap<string, WeightTensor> {
    if (this.#merged?.alpha255 !== alpha255) {
      const feeds = new Map<string, WeightTensor>()
      for (const [input, name] of Object.entries(this.#graph.weights))
        feeds.set(input, this.#merge(name, alpha255 / 255))
      this.#merged = { alpha255, feeds }
    }
    return this.#merged.feeds
  }

  #merge(name: string, alpha: number): WeightTensor {
    const base = this.#tensors.get(name)!
    const update = this.#updates[name]
    if (update === undefined || alpha === 0) return base
    const part = (tensor: string): WeightTensor => this.#tensors.get(tensor)!
    switch (update.kind) {
      case 'lowRank':
        return { shape: base.shape, values: addLowRank(base.values, part(update.up), part(update.down), alpha) }
      case 'linear': {
        const delta = part(update.delta).values
        return { shape: base.shape, values: base.values.map((value, i) => value + alpha * delta[i]!) }
      }
      case 'logGain': {
        const delta = part(update.delta).values
        return { shape: base.shape, values: base.values.map((value, i) => value * Math.exp(alpha * delta[i]!)) }
      }
    }
  }

  #checkUpdate(name: string, update: TensorUpdate): void {
    const size = this.#tensors.get(name)!.values.length
    const [found, form] =
      update.kind === 'lowRank'
        ? [(this.#tensors.get(update.up)!.shape[0] ?? 0) * (this.#tensors.get(update.down)!.shape[1] ?? 0), 'up @ down']
        : [this.#tensors.get(update.delta)!.values.length, 'delta']
    const ranksDiffer =
      update.kind === 'lowRank' && this.#tensors.get(update.up)!.shape[1] !== this.#tensors.get(update.down)!.shape[0]
    if (found !== size || ranksDiffer)
      throw new ModelError(`Cannot adapt tensor "${name}": ${form} has ${found} values, expected ${size}`)
  }
}
