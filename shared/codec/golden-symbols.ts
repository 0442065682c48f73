import { IntegrityError, ModelError } from '../errors.ts'

/** Backends differ by rounding: so many symbols in a thousand may fall to the other side of an edge, by one. */
const MAX_DIFFERING_PER_MILLE = 2

/** @param bytes int16 little-endian, at any offset of their buffer. */
export function symbolsOfBlob(bytes: Uint8Array): Int16Array {
  return new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

/**
 * Refuse an encoder that gives other symbols than when its family was made.
 *
 * @param name For the message.
 * @throws {IntegrityError} If sizes differ, or more symbols than rounding explains.
 */
export function checkSymbols(name: string, found: Int16Array, expected: Int16Array): void {
  if (found.length !== expected.length)
    throw new IntegrityError(`Cannot use "${name}": found ${found.length} golden symbols, expected ${expected.length}`)
  const differing = found.reduce((count, symbol, i) => count + (symbol === expected[i] ? 0 : 1), 0)
  const allowed = Math.floor((expected.length * MAX_DIFFERING_PER_MILLE) / 1000)
  if (differing > allowed)
    throw new IntegrityError(
      `Cannot use "${name}": ${differing} of ${expected.length} golden symbols differ, expected at most ${allowed}`,
    )
}

/**
 * Rounding would turn NaN into 0, and the frame into a grey one, in silence.
 *
 * @throws {ModelError} If a value is NaN or infinite.
 */
export function checkFinite(latent: Float32Array, name: string): void {
  // A loop, because this is asked of every frame.
  for (let at = 0; at < latent.length; at++)
    if (!Number.isFinite(latent[at]))
      throw new ModelError(`Cannot use "${name}": latent value ${at} is ${latent[at]}, expected a finite one`)
}
