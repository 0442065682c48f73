/** Random numbers that a seed repeats on every machine. */
export interface Random {
  /** In [0, 1). */
  uniform(): number
  /** Mean 0, deviation 1. */
  normal(): number
}

/** A Weyl sequence through a mixing function; Steele, Lea and Flood 2014, in 32 bits. */
export function seededRandom(seed: number): Random {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 0
  const uniform = (): number => {
    state = (state + 0x9e3779b9) | 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
  // Box and Muller 1958; 1 - u is never 0.
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
  return { uniform, normal }
}

/** First-order autoregression that varies by `sigma` in the long run and keeps `memory` of itself at each step. */
export function autoregression(random: Random, memory: number, sigma: number): () => number {
  let value = sigma * random.normal()
  return () => {
    value = memory * value + Math.sqrt(1 - memory ** 2) * sigma * random.normal()
    return value
  }
}
