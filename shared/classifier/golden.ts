import { IntegrityError } from '../errors.ts'

/** Float32 values of a blob, which may lie at any offset of its buffer. @throws {IntegrityError} If it is cut within one. */
export function floatsOfBlob(data: Uint8Array, name: string): Float32Array {
  if (data.byteLength % 4 !== 0)
    throw new IntegrityError(`Cannot read "${name}": found ${data.byteLength} bytes, expected a multiple of 4`)
  return new Float32Array(new Uint8Array(data).buffer)
}

/**
 * Compare what a graph gives for the golden input with what it gave when the family was made.
 *
 * @throws {IntegrityError} If a value is no number, differs by more than `tolerance`, or there are not as many.
 */
export function checkGolden(
  name: string,
  found: Float32Array,
  { output, tolerance }: { output: Float32Array; tolerance: number },
): void {
  if (found.length !== output.length)
    throw new IntegrityError(
      `Cannot use variant "${name}": found ${found.length} golden values, expected ${output.length}`,
    )
  // Turned around, so that what is no number fails.
  for (const [i, expected] of output.entries())
    if (!(Math.abs(found[i]! - expected) <= tolerance))
      throw new IntegrityError(
        `Cannot use variant "${name}": golden value ${i} is ${found[i]}, expected ${expected} to within ${tolerance}`,
      )
}
