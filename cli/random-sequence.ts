/** A repeatable sequence in [0, 1): a generator of 32 bits (Numerical Recipes), good enough for moments and traces. */
export function randomSequence(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
