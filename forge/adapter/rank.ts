/** How many singular components to keep. Where several are given, the fewest. */
export interface RankLimits {
  /** At most so many of each pair. */
  readonly rank?: number
  /** As few of each pair as hold this share, 0 to 1, of the sum of squares. */
  readonly energy?: number
}

/** Below this share of the largest a singular value is rounding: float64 leaves about 1e-15. */
const NOISE = 1e-12

/** @param values Singular values, from the largest down. @returns How many to keep, 0 where all are zero. */
export function chooseRank(values: readonly number[], { rank = values.length, energy = 1 }: RankLimits): number {
  const real = values.filter((value) => value > NOISE * values[0]!)
  const total = real.reduce((sum, value) => sum + value ** 2, 0)
  let [held, needed] = [0, 0]
  while (needed < real.length && held < energy * total) held += real[needed++]! ** 2
  return Math.min(rank, needed)
}

/** The share of the sum of squares in the first components; 1 where there is nothing to hold. */
export function energyOf(values: readonly number[], rank: number): number {
  const total = values.reduce((sum, value) => sum + value ** 2, 0)
  return total === 0 ? 1 : values.slice(0, rank).reduce((sum, value) => sum + value ** 2, 0) / total
}
