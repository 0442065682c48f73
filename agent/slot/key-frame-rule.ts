import type { FrameKind } from '@espalier/shared/codec/container'

/**
 * When a frame must stand alone: now and then, so that a receiver that joins or lost a frame waits no longer than
 * that; when somebody asks; and after a frame that was made but not sent, because the next would follow what nobody has.
 */
export class KeyFrameRule {
  readonly #everyMs: number
  #lastKeyMs: number | undefined
  #isRequested = false

  /** @param everyS Seconds between key frames at most; 0 makes every frame one. */
  constructor(everyS: number) {
    this.#everyMs = everyS * 1000
  }

  request(): void {
    this.#isRequested = true
  }

  isDue(atMs: number): boolean {
    return this.#isRequested || this.#lastKeyMs === undefined || atMs - this.#lastKeyMs >= this.#everyMs
  }

  record({ atMs, frameKind, isSent }: { atMs: number; frameKind: FrameKind; isSent: boolean }): void {
    if (!isSent) {
      this.#isRequested = true
    } else if (frameKind === 'key') {
      this.#isRequested = false
      this.#lastKeyMs = atMs
    }
  }
}
