/**
 * A short queue between a source that does not wait and a worker that may be slow: when it is full, the oldest
 * waiting item gives way, because the newest picture is worth the most.
 */
export class FrameQueue<Item> {
  readonly #capacity: number
  readonly #items: Item[] = []
  #wake: (() => void) | undefined

  /** @param capacity Items that may wait, at least 1. */
  constructor(capacity: number) {
    if (!(capacity >= 1)) throw new RangeError(`Cannot make queue: found capacity ${capacity}, expected at least 1`)
    this.#capacity = capacity
  }

  get length(): number {
    return this.#items.length
  }

  /** @returns The item that gave way, if one did. */
  offer(item: Item): Item | undefined {
    this.#items.push(item)
    const skipped = this.#items.length > this.#capacity ? this.#items.shift() : undefined
    this.#wake?.()
    return skipped
  }

  /**
   * The oldest item, when there is one. One taker at a time.
   *
   * @throws `signal.reason` when aborted.
   */
  async take(signal: AbortSignal): Promise<Item> {
    for (;;) {
      signal.throwIfAborted()
      const item = this.#items.shift()
      if (item !== undefined) return item
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake)
          this.#wake = undefined
          resolve()
        }
        this.#wake = wake
        signal.addEventListener('abort', wake)
      })
    }
  }
}
