/**
 * Fixed logarithmic buckets: bucket i holds values in (G^(i-1), G^i] with G = 2^(1/8), so a quantile is
 * at most 4.4 % off. Fixed bounds make histograms of many devices addable and cumulative ones subtractable,
 * which sketches with data-dependent bounds are not.
 */
const BUCKETS_PER_OCTAVE = 8
const FIRST_BUCKET = -120
const LAST_BUCKET = 240

/** Sparse counts by bucket index, as sent in messages. */
export type HistogramCounts = Readonly<Record<string, number>>

function bucketOf(value: number): number {
  if (!(value > 0)) return FIRST_BUCKET
  return Math.min(LAST_BUCKET, Math.max(FIRST_BUCKET, Math.ceil(Math.log2(value) * BUCKETS_PER_OCTAVE)))
}

/** Counts positive values (any unit) in fixed log buckets; zero and less go to the lowest bucket. */
export class Histogram {
  readonly #counts = new Map<number, number>()

  record(value: number): void {
    const bucket = bucketOf(value)
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + 1)
  }

  counts(): HistogramCounts {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => a - b))
  }
}

/** Sum of two histograms. */
export function addCounts(a: HistogramCounts, b: HistogramCounts): HistogramCounts {
  const sum: Record<string, number> = { ...a }
  for (const [bucket, count] of Object.entries(b)) sum[bucket] = (sum[bucket] ?? 0) + count
  return sum
}

/** What was counted between two readings of a cumulative histogram; never negative. */
export function subtractCounts(later: HistogramCounts, earlier: HistogramCounts): HistogramCounts {
  const difference: Record<string, number> = {}
  for (const [bucket, count] of Object.entries(later)) {
    const left = count - (earlier[bucket] ?? 0)
    if (left > 0) difference[bucket] = left
  }
  return difference
}

/**
 * The value below which a share of the counts lies.
 *
 * @param share In [0, 1].
 * @returns The geometric middle of the bucket, in the recorded unit; undefined when nothing was counted.
 */
export function quantile(counts: HistogramCounts, share: number): number | undefined {
  const buckets = Object.entries(counts).map(([bucket, count]) => [Number(bucket), count] as const)
  buckets.sort(([a], [b]) => a - b)
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  if (total === 0) return undefined
  let seen = 0
  for (const [bucket, count] of buckets) {
    seen += count
    if (seen >= share * total) return 2 ** ((bucket - 0.5) / BUCKETS_PER_OCTAVE)
  }
  return undefined
}
