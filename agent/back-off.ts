/** Doubling waits; `reset` after something has worked. */
export class BackOff {
  readonly #firstMs: number
  readonly #maxMs: number
  #nextMs: number

  constructor(firstMs: number, maxMs: number) {
    this.#firstMs = firstMs
    this.#maxMs = maxMs
    this.#nextMs = firstMs
  }

  /** @returns Milliseconds to wait now. */
  next(): number {
    const waitMs = this.#nextMs
    this.#nextMs = Math.min(this.#maxMs, waitMs * 2)
    return waitMs
  }

  reset(): void {
    this.#nextMs = this.#firstMs
  }
}
