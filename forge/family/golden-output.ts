import { ModelError } from '@espalier/shared/errors'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { PreparedVariant } from './prepare-variant.ts'

/** Of the largest value: what kernels of different machines add up to by rounding, with room. */
const FLOAT_TOLERANCE = 1e-3
/** A step of eight bits is 1/255 of a range; a few may fall the other way, layer after layer. */
const QUANTISED_TOLERANCE = 5e-2

export interface GoldenOutput {
  readonly output: Float32Array
  readonly tolerance: number
}

/**
 * What a variant gives for the golden input, on the backend that every device has.
 *
 * @throws {ModelError} If the runtime refuses it, or a value is no number.
 */
export async function goldenOutput(
  { id, split, input, output, isQuantised }: PreparedVariant,
  data: Float32Array,
): Promise<GoldenOutput> {
  const session = await openSession(split.bytes, {
    backend: 'wasm',
    threads: 1,
    input: input.name,
    output,
    weightInputs: [],
    externalData: [...split.tensors.values()].map((tensor) => ({ path: tensor.sha256, data: tensor.data })),
    name: id,
  })
  const found = await session.run({ type: 'float32', data, dims: input.dims }, new Map()).finally(() => session.close())
  if (found.type !== 'float32' || !found.data.every(Number.isFinite))
    throw new ModelError(`Cannot use model "${id}": output "${output}" is ${found.type} and not finite everywhere`)
  const values = found.data as Float32Array
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6)
  return { output: values, tolerance: largest * (isQuantised ? QUANTISED_TOLERANCE : FLOAT_TOLERANCE) }
}
