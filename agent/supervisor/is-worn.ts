/** When a worker has served long enough. */
export interface WearLimits {
  /** Changes of variant; runtimes keep a little of what they ran (microsoft/onnxruntime#25325). */
  readonly maxSwaps: number
  /** Memory in RAM. */
  readonly maxRssBytes: number
}

/** A worker that is over its memory as soon as it starts must not be replaced for ever. */
const LEAST_AGE_FOR_MEMORY_MS = 60_000

/** Whether a fresh process should take a worker's place. */
export function isWorn(
  { swaps, rssBytes, ageMs }: { readonly swaps: number; readonly rssBytes: number; readonly ageMs: number },
  { maxSwaps, maxRssBytes }: WearLimits,
): boolean {
  return swaps >= maxSwaps || (rssBytes > maxRssBytes && ageMs >= LEAST_AGE_FOR_MEMORY_MS)
}
