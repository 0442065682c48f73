/** Above this many values in all, sums of ranks are close enough to normal. */
const EXACT_VALUES = 40
/** Estimates of shifts look at so many values of a side at most: all pairs of thousands are too many. */
const ESTIMATE_VALUES = 300

/** Ranks from 1, ties share the mean of theirs; doubled, so that they are whole numbers. */
function doubledRanks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!)
  const ranks = new Array<number>(values.length)
  for (let i = 0; i < order.length; ) {
    let end = i
    while (end < order.length && values[order[end]!] === values[order[i]!]) end++
    for (let k = i; k < end; k++) ranks[order[k]!] = i + 1 + end
    i = end
  }
  return ranks
}

/** Sum over groups of equal values of t^3 - t. */
function tieTerm(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts.values()].reduce((sum, t) => sum + t ** 3 - t, 0)
}

/** Upper tail of the standard normal distribution (Abramowitz and Stegun 26.2.17; off by at most 7.5e-8). */
export function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z)
  const t = 1 / (1 + 0.2316419 * z)
  const series = [0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429]
  const sum = series.reduceRight((rest, factor) => (rest + factor) * t, 0)
  return Math.max(0, (Math.exp(-(z ** 2) / 2) / Math.sqrt(2 * Math.PI)) * sum)
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Evenly spread over the order of the values. */
function thin(values: readonly number[]): readonly number[] {
  if (values.length <= ESTIMATE_VALUES) return values
  const sorted = [...values].sort((a, b) => a - b)
  return Array.from(
    { length: ESTIMATE_VALUES },
    (_, i) => sorted[Math.floor(((i + 0.5) * sorted.length) / ESTIMATE_VALUES)]!,
  )
}

/** How many of the ways to choose `size` of the ranks have a sum of at least `least`, as a share of all. */
function shareOfChoices(ranks: readonly number[], size: number, least: number): number {
  const total = ranks.reduce((sum, rank) => sum + rank, 0)
  const ways = Array.from({ length: size + 1 }, () => new Float64Array(total + 1))
  ways[0]![0] = 1
  for (const rank of ranks)
    for (let k = size; k > 0; k--) for (let sum = total; sum >= rank; sum--) ways[k]![sum]! += ways[k - 1]![sum - rank]!
  const counts = ways[size]!
  const all = counts.reduce((sum, count) => sum + count, 0)
  return counts.subarray(Math.max(0, least)).reduce((sum, count) => sum + count, 0) / all
}

/** The least p-value that so many values can give. */
export function leastMannWhitneyP(sizeX: number, sizeY: number): number {
  let choices = 1
  for (let i = 1; i <= sizeX; i++) choices *= (sizeY + i) / i
  return 1 / choices
}

/**
 * Whether values of `x` tend to be greater than those of `y`: the rank sum test, one-sided, exact (ties included) up to
 * 40 values and by the normal approximation with tie and continuity correction above. It asks for no distribution, and one
 * device that is far off does not decide.
 *
 * @returns The p-value; 1 if a side is empty.
 * @see H. B. Mann and D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the
 * other, Annals of Mathematical Statistics 18 (1947)
 */
export function mannWhitneyP(x: readonly number[], y: readonly number[]): number {
  const [m, n] = [x.length, y.length]
  if (m === 0 || n === 0) return 1
  const all = [...x, ...y]
  const ranks = doubledRanks(all)
  const sum = ranks.slice(0, m).reduce((total, rank) => total + rank, 0)
  if (m + n <= EXACT_VALUES) return shareOfChoices(ranks, m, sum)
  const u = sum / 2 - (m * (m + 1)) / 2
  const variance = ((m * n) / 12) * (m + n + 1 - tieTerm(all) / ((m + n) * (m + n - 1)))
  return variance === 0 ? 1 : normalTail((u - (m * n) / 2 - 0.5) / Math.sqrt(variance))
}

/** By how much `x` is above `y`: the median of all differences (Hodges and Lehmann 1963). */
export function shiftBetween(x: readonly number[], y: readonly number[]): number {
  const [a, b] = [thin(x), thin(y)]
  return median(a.flatMap((value) => b.map((other) => value - other)))
}

export const leastWilcoxonP = (size: number): number => 2 ** -size

/**
 * Whether differences tend to be above zero: the signed-rank test, one-sided, exact up to 40 values.
 *
 * @returns The p-value; 1 without differences.
 * @see F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945)
 */
export function wilcoxonP(differences: readonly number[]): number {
  const values = differences.filter((value) => value !== 0)
  const n = values.length
  if (n === 0) return 1
  const sizes = values.map(Math.abs)
  const ranks = doubledRanks(sizes)
  const sum = ranks.reduce((total, rank, i) => total + (values[i]! > 0 ? rank : 0), 0)
  if (n > EXACT_VALUES) {
    const variance = (n * (n + 1) * (2 * n + 1)) / 24 - tieTerm(sizes) / 48
    return normalTail((sum / 2 - (n * (n + 1)) / 4 - 0.5) / Math.sqrt(variance))
  }
  const total = ranks.reduce((all, rank) => all + rank, 0)
  const ways = new Float64Array(total + 1)
  ways[0] = 1
  for (const rank of ranks) for (let s = total; s >= rank; s--) ways[s]! += ways[s - rank]!
  return ways.subarray(sum).reduce((all, count) => all + count, 0) / 2 ** n
}

/** The middle of differences: the median of the means of all pairs (Hodges and Lehmann 1963). */
export function middleOf(differences: readonly number[]): number {
  const values = thin(differences)
  return median(values.flatMap((a, i) => values.slice(i).map((b) => (a + b) / 2)))
}
