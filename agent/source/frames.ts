import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '@espalier/shared/clock'
import type { PictureStream, SourceFrame } from './source.ts'

/** A device that slept does not catch up on what it missed. */
const MAX_BEHIND_MS = 1000

/**
 * Play a stream at a frame rate. Frame n is due at start + n / rate: waiting a fixed time after each frame would
 * drift by what each frame costs.
 *
 * @throws `signal.reason` when aborted.
 */
export async function* playFrames(
  stream: PictureStream,
  frameRate: number,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<SourceFrame> {
  const intervalMs = 1000 / frameRate
  const startMs = clock.monotonicMs()
  for (let n = 0; ; n++) {
    const picture = await stream.next()
    if (picture === undefined) return
    const behindMs = clock.monotonicMs() - (startMs + n * intervalMs)
    const skippedBefore = behindMs > MAX_BEHIND_MS ? Math.floor(behindMs / intervalMs) : 0
    n += skippedBefore
    const arrivedMs = startMs + n * intervalMs
    const waitMs = arrivedMs - clock.monotonicMs()
    if (waitMs > 0) await delay(waitMs, undefined, { signal })
    signal.throwIfAborted()
    const capturedWallMs = clock.wallMs() - Math.max(0, clock.monotonicMs() - arrivedMs)
    yield { picture, arrivedMs, capturedWallMs, skippedBefore }
  }
}

/**
 * Choose frames of a source so that a lower rate is kept evenly. Frames that are not chosen are not dropped: nobody
 * asked for them.
 *
 * @returns Whether to take the next frame, at each call.
 */
export function makeDecimator(): (sourceRate: number, wantedRate: number) => boolean {
  let credit = 1
  return (sourceRate, wantedRate) => {
    const isTaken = credit >= 1
    if (isTaken) credit -= 1
    // Rounding must not cost a frame when both rates are equal: a share above 1 is 1, and 1 adds exactly.
    credit += Math.min(1, wantedRate / sourceRate)
    return isTaken
  }
}
