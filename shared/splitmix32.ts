/**
 * Random numbers that a state repeats on every machine: a Weyl sequence through a mixing function (Steele, Lea and Flood
 * 2014, in 32 bits).
 *
 * @returns Numbers in [0, 1), multiples of 2^-32.
 */
export function splitmix32(start: number): () => number {
  let state = start | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
}
