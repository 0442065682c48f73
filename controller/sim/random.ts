import { splitmix32 } from '@espalier/shared/splitmix32'

/** Random numbers that a seed repeats on every machine. */
export interface Random {
  /** In [0, 1). */
  uniform(): number
  /** Mean 0, deviation 1. */
  normal(): number
}

export function seededRandom(seed: number): Random {
  const uniform = splitmix32(Math.imul(seed + 1, 0x9e3779b1))
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
