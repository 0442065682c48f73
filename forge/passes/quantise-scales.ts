import { ModelError } from '@espalier/shared/errors'
import { floatsOf, sizeOf, type Tensor } from '../graph/tensor.ts'

/** What a value ranges over. */
export interface Range {
  readonly low: number
  readonly high: number
}

/** Where zero and one lie among the integers: value = scale * (integer - zero). */
export interface Scale {
  readonly scale: number
  readonly zero: number
}

export const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value))

/** Half to even, as QuantizeLinear rounds. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor
}

/** Largest integer of a weight: all of int8, or so much that two products with uint8 fit into int16. */
export const WEIGHT_LIMITS = { full: 127, reduced: 64 } as const

export interface QuantisedWeight {
  /** In the weight's own order. */
  readonly values: Int8Array
  /** One for each output. */
  readonly scales: Float32Array
}

/**
 * int8 around zero, a scale for each output.
 *
 * @param axis Of the outputs. @param least Smallest scale of each output that will do.
 * @throws {ModelError} If a weight is no finite number.
 */
export function quantiseWeight(
  weight: Tensor,
  axis: number,
  name: string,
  { limit = WEIGHT_LIMITS.full, least }: { limit?: number; least?: ArrayLike<number> } = {},
): QuantisedWeight {
  const floats = floatsOf(weight, name)
  const outputs = weight.dims[axis]!
  const inner = sizeOf(weight.dims.slice(axis + 1))
  const channelOf = (i: number): number => Math.floor(i / inner) % outputs
  const most = new Float64Array(outputs)
  for (let i = 0; i < floats.length; i++) {
    if (!Number.isFinite(floats[i]!))
      throw new ModelError(`Cannot quantise weight "${name}": found ${floats[i]}, expected finite numbers`)
    most[channelOf(i)] = Math.max(most[channelOf(i)]!, Math.abs(floats[i]!))
  }
  const scales = Float32Array.from(most, (value, output) => {
    const scale = Math.max(Math.fround(value / limit), least?.[output] ?? 0)
    return scale === 0 ? 1 : scale
  })
  const values = Int8Array.from(floats, (value, i) =>
    clamp(roundHalfEven(value / scales[channelOf(i)]!), -limit, limit),
  )
  return { values, scales }
}

/** uint8 with a zero point, such that zero itself is exact: padding depends on it. */
export function activationScale({ low, high }: Range): Scale {
  const [from, to] = [Math.min(0, low), Math.max(0, high)]
  const scale = Math.fround((to - from) / 255) || 1
  return { scale, zero: clamp(roundHalfEven(-from / scale), 0, 255) }
}

/** Largest int32 that float32 has exactly. */
const MAX_BIAS = 2 ** 31 - 128

/** Scales of the weight below which the bias, whose scale is theirs times the input's, would not fit into int32. */
export const leastWeightScales = (bias: ArrayLike<number>, inputScale: number): Float64Array =>
  Float64Array.from(bias, (value) => Math.abs(value) / MAX_BIAS / inputScale)

/** int32, at the scale that sums of products have. */
export function quantiseBias(
  bias: ArrayLike<number>,
  weightScales: Float32Array,
  inputScale: number,
): { values: Int32Array; scales: Float32Array } {
  const scales = weightScales.map((scale) => scale * inputScale)
  const values = Int32Array.from(bias, (value, i) => clamp(roundHalfEven(value / scales[i]!), -MAX_BIAS, MAX_BIAS))
  return { values, scales }
}
