import { IntegrityError, ModelError } from '../errors.ts'
import type { GraphEntry, TensorEntry, TensorUpdate } from '../manifest/codec-manifest.ts'
import type { CodecFamily } from '../manifest/open-family.ts'

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

/** up @ down @ W: what alpha 1 adds, with W a matrix of [rows, columns], up [rows, rank] and down [rank, rows]. */
function lowRankDelta(base: WeightTensor, up: WeightTensor, down: WeightTensor): Float32Array {
  const [rows, rank] = up.shape as [number, number]
  const columns = base.values.length / rows
  const inner = new Float32Array(rank * columns)
  for (let r = 0; r < rank; r++) addScaledRows(inner, r, base.values, down.values.subarray(r * rows, (r + 1) * rows))
  const delta = new Float32Array(base.values.length)
  for (let row = 0; row < rows; row++)
    addScaledRows(delta, row, inner, up.values.subarray(row * rank, (row + 1) * rank))
  return delta
}

function addScaled({ shape, values }: WeightTensor, delta: Float32Array, alpha: number): WeightTensor {
  const merged = new Float32Array(values.length)
  for (let i = 0; i < merged.length; i++) merged[i] = values[i]! + alpha * delta[i]!
  return { shape, values: merged }
}

/** to[row] += the sum of factors[i] * from[i], all rows of the same length. */
function addScaledRows(to: Float32Array, row: number, from: Float32Array, factors: Float32Array): void {
  const columns = from.length / factors.length
  const target = to.subarray(row * columns, (row + 1) * columns)
  for (let i = 0; i < factors.length; i++) {
    const factor = factors[i]!
    const source = i * columns
    for (let column = 0; column < columns; column++) target[column]! += factor * from[source + column]!
  }
}

/** The tensors of one graph, with its adapter merged at any alpha (MALICE: exact, no cost at run time). */
export class Weights {
  readonly #tensors: ReadonlyMap<string, WeightTensor>
  readonly #updates: Readonly<Record<string, TensorUpdate>>
  readonly #graph: GraphEntry
  /** By tensor. Kept, so that an alpha that was never asked for costs one pass over the weights. */
  readonly #deltas = new Map<string, Float32Array>()
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
  static async load(family: CodecFamily, graph: GraphEntry): Promise<Weights> {
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
      case 'lowRank': {
        const delta = this.#deltas.get(name) ?? lowRankDelta(base, part(update.up), part(update.down))
        this.#deltas.set(name, delta)
        return addScaled(base, delta, alpha)
      }
      case 'linear':
        return addScaled(base, part(update.delta).values, alpha)
      case 'logGain': {
        const delta = part(update.delta).values
        return { shape: base.shape, values: base.values.map((value, i) => value * Math.exp(alpha * delta[i]!)) }
      }
    }
  }

  #checkUpdate(name: string, update: TensorUpdate): void {
    const base = this.#tensors.get(name)!
    if (update.kind === 'lowRank') {
      const [up, down] = [this.#tensors.get(update.up)!.shape, this.#tensors.get(update.down)!.shape]
      const rows = base.shape[0]
      if (up.length !== 2 || down.length !== 2 || up[0] !== rows || down[1] !== rows || up[1] !== down[0])
        throw new ModelError(
          `Cannot adapt tensor "${name}": up is [${up}] and down [${down}], expected [${rows}, r] and [r, ${rows}]`,
        )
      return
    }
    const [found, expected] = [this.#tensors.get(update.delta)!.values.length, base.values.length]
    if (found !== expected)
      throw new ModelError(`Cannot adapt tensor "${name}": delta has ${found} values, expected ${expected}`)
  }
}
