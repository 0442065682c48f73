/**
 * What one frame costs in each way of running an adapted graph, measured on one backend, milliseconds.
 *
 * `inputs`: the merged weights are fed with each frame. `baked`: they are constants of a session of their own. `live`:
 * the adapter is computed beside its layers.
 */
export interface AdapterCosts {
  readonly inputsMs: number
  readonly bakedMs: number
  /** Absent where the variant has no such graph, or nobody measured it. */
  readonly liveMs?: number | undefined
  /** Merging the weights for an alpha that was not asked for before. */
  readonly mergeMs: number
  /** Making a session with baked weights. */
  readonly bakeMs: number
}

export type AdapterWay = 'inputs' | 'baked' | 'live'

/** What noise of a measurement may look like: less is not worth a second session. */
const LEAST_GAIN = 0.05

/**
 * Milliseconds for each frame when alpha stays for so many: what is done once for an alpha is shared among them.
 *
 * @param dwellFrames At least 1.
 */
export function frameCostMs(way: AdapterWay, costs: AdapterCosts, dwellFrames: number): number {
  switch (way) {
    case 'inputs':
      return costs.inputsMs + costs.mergeMs / dwellFrames
    case 'baked':
      return costs.bakedMs + (costs.mergeMs + costs.bakeMs) / dwellFrames
    case 'live':
      return costs.liveMs ?? Number.POSITIVE_INFINITY
  }
}

/** The cheapest way when alpha stays for so many frames; of equals, the simpler one. */
export function chooseAdapterWay(costs: AdapterCosts, dwellFrames: number): AdapterWay {
  const ways: readonly AdapterWay[] = ['inputs', 'baked', 'live']
  return ways.reduce((best, way) =>
    frameCostMs(way, costs, dwellFrames) < frameCostMs(best, costs, dwellFrames) ? way : best,
  )
}

/**
 * After how many frames with one alpha a session with baked weights is worth making. Nobody knows how long an alpha
 * will stay; making it once feeding has cost as much as making it never costs more than twice the best (ski rental).
 *
 * @returns Infinity where it does not pay.
 */
export function bakeAfterFrames({ inputsMs, bakedMs, bakeMs }: AdapterCosts): number {
  const gainMs = inputsMs - bakedMs
  return gainMs < LEAST_GAIN * inputsMs ? Number.POSITIVE_INFINITY : Math.max(1, Math.ceil(bakeMs / gainMs))
}
