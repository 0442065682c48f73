import { deflateSync } from 'node:zlib'
import { ModelError } from '@espalier/shared/errors'
import { hoistConstants } from '../graph/constants.ts'
import type { Graph } from '../graph/graph.ts'
import { toSparseProto } from '../graph/sparse.ts'
import { floatsOf, isFloat, sizeOf, type Tensor } from '../graph/tensor.ts'
import { writeModel } from '../graph/write.ts'

export interface SparsityReport {
  readonly weights: number
  readonly zeros: number
  /** Weights stored as coordinates and values, which is smaller for them. */
  readonly sparse: readonly string[]
  /** Of the whole model, with its weights in full or sparse, as it lies or deflated (as HTTP or a container would). */
  readonly bytes: {
    readonly dense: number
    readonly sparse: number
    readonly denseDeflated: number
    readonly sparseDeflated: number
  }
  readonly time: string
}

const WEIGHTED = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul'])

function weightsOf(graph: Graph): Map<string, Float64Array> {
  const weights = new Map<string, Float64Array>()
  for (const { opType, domain, inputs } of graph.nodes)
    for (const name of WEIGHTED.has(opType) && domain === '' ? inputs.slice(0, 2) : []) {
      const tensor = graph.initializers.get(name)
      if (tensor !== undefined && isFloat(tensor) && tensor.dims.length >= 2) weights.set(name, floatsOf(tensor, name))
    }
  return weights
}

/** The magnitude below which a share of all weights lies. */
function thresholdOf(weights: ReadonlyMap<string, Float64Array>, ratio: number): number {
  const count = [...weights.values()].reduce((sum, { length }) => sum + length, 0)
  const magnitudes = new Float64Array(count)
  let at = 0
  for (const values of weights.values()) for (const value of values) magnitudes[at++] = Math.abs(value)
  return magnitudes.sort()[Math.floor(ratio * count)] ?? 0
}

/** The same tensor, byte for byte, but for zeros where the magnitude is below the threshold. */
function zeroBelow(tensor: Tensor, values: Float64Array, threshold: number): Tensor {
  const width = tensor.data.length / sizeOf(tensor.dims)
  const data = Uint8Array.from(tensor.data)
  for (const [i, value] of values.entries())
    if (Math.abs(value) < threshold || value === 0) data.fill(0, i * width, (i + 1) * width)
  return { ...tensor, data }
}

/**
 * Set the smallest weights of all matrices and kernels to zero (Han et al. 2015), ranked together, and store sparsely
 * those weights which are smaller so. No runtime here multiplies any less for it: weights are filled in when the model
 * opens.
 *
 * @throws {RangeError} If the ratio is no share. @throws {ModelError} If there is no weight.
 */
export function sparsify(original: Graph, ratio: number): { graph: Graph; report: SparsityReport } {
  if (!(ratio >= 0 && ratio < 1)) throw new RangeError(`Cannot zero a share of ${ratio}: expected one in [0, 1)`)
  const graph = hoistConstants(original)
  const weights = weightsOf(graph)
  if (weights.size === 0)
    throw new ModelError('Cannot zero weights of model: it has no convolution or matrix with constant weights')
  const threshold = thresholdOf(weights, ratio)
  const dense = new Map(graph.initializers)
  const thin = new Map(graph.initializers)
  const sparse: string[] = []
  let [count, zeros] = [0, 0]
  for (const [name, values] of weights) {
    const { isSparse: _, ...tensor } = zeroBelow(graph.initializers.get(name)!, values, threshold)
    count += values.length
    zeros += values.reduce((sum, value) => sum + (Math.abs(value) < threshold || value === 0 ? 1 : 0), 0)
    const isThin = toSparseProto(name, tensor) !== undefined
    if (isThin) sparse.push(name)
    dense.set(name, tensor)
    thin.set(name, isThin ? { ...tensor, isSparse: true } : tensor)
  }
  const done = { ...graph, initializers: thin }
  const [full, small] = [writeModel({ ...graph, initializers: dense }), writeModel(done)]
  return {
    graph: done,
    report: {
      weights: count,
      zeros,
      sparse,
      bytes: {
        dense: full.length,
        sparse: small.length,
        denseDeflated: deflateSync(full).length,
        sparseDeflated: deflateSync(small).length,
      },
      time: 'unchanged: runtimes fill zeros in when the model opens, and multiply by them',
    },
  }
}
