import { z } from 'zod'

const sideSchema = z.object({
  /** Log-seconds beyond the slack: 0.1 for a device that is slower by a tenth, each second. */
  sum: z.number().min(0),
  /** Of what is summed: when it began (wall), and the mean deviation since. */
  sinceMs: z.number(),
  seconds: z.number().min(0),
  mean: z.number(),
})
type Side = z.infer<typeof sideSchema>

/** How a cost of one device runs away from what it was: two sums of Page (1954), one for each direction. */
export const driftSchema = z.object({
  /** What it was: the mean of the first minutes, natural logarithm. */
  reference: z.object({ mean: z.number(), seconds: z.number().min(0) }),
  up: sideSchema,
  down: sideSchema,
})
export type Drift = z.infer<typeof driftSchema>

export interface FoundDrift {
  /** Natural logarithm of now / before. */
  readonly shift: number
  readonly sinceMs: number
}

const REFERENCE_S = 300
/** Deviations below this, about 5 %, are no drift however long they last: air in a room changes more. */
const SLACK = 0.05
/** A tenth beyond the slack for a quarter of an hour; half of that time at a fifth. */
const THRESHOLD = 0.1 * 900
/** However slow a device is, a spell of five minutes (another program, one hot afternoon hour) is no drift. */
const MOST = 0.3

const still: Side = { sum: 0, sinceMs: 0, seconds: 0, mean: 0 }
export const startDrift: Drift = { reference: { mean: 0, seconds: 0 }, up: still, down: still }

function updateSide(side: Side, excess: number, deviation: number, seconds: number, nowMs: number): Side {
  const sum = side.sum + excess * seconds
  if (!(sum > 0)) return still
  const all = side.seconds + seconds
  const sinceMs = side.sum > 0 ? side.sinceMs : nowMs - seconds * 1000
  return { sum, sinceMs, seconds: all, mean: side.mean + ((deviation - side.mean) * seconds) / all }
}

/**
 * Take in what a window says. After a drift was found the new level is the reference.
 *
 * @param window.deviation Logarithm of measured / expected of the configuration; `seconds` that it was measured over.
 */
export function updateDrift(
  drift: Drift,
  window: { readonly deviation: number; readonly seconds: number },
  nowMs: number,
): { readonly drift: Drift; readonly found?: FoundDrift } {
  const { deviation, seconds } = window
  if (!Number.isFinite(deviation) || !(seconds > 0)) return { drift }
  const { reference } = drift
  if (reference.seconds < REFERENCE_S) {
    const all = reference.seconds + seconds
    const mean = reference.mean + ((deviation - reference.mean) * seconds) / all
    return { drift: { ...startDrift, reference: { mean, seconds: all } } }
  }
  const off = Math.min(MOST, Math.max(-MOST, deviation - reference.mean))
  const up = updateSide(drift.up, off - SLACK, deviation, seconds, nowMs)
  const down = updateSide(drift.down, -off - SLACK, deviation, seconds, nowMs)
  const side = up.sum > THRESHOLD ? up : down.sum > THRESHOLD ? down : undefined
  if (side === undefined) return { drift: { reference, up, down } }
  return {
    drift: { ...startDrift, reference: { mean: side.mean, seconds: REFERENCE_S } },
    found: { shift: side.mean - reference.mean, sinceMs: side.sinceMs },
  }
}
