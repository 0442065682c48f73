/** What Node's timers can and a browser's numbers cannot. */
class Timer {
  readonly #onTime: () => void
  readonly #ms: number
  readonly #isRepeated: boolean
  #id: number | undefined

  constructor(onTime: () => void, ms: number, isRepeated: boolean) {
    this.#onTime = onTime
    this.#ms = ms
    this.#isRepeated = isRepeated
    this.refresh()
  }

  /** Begin its time again. */
  refresh(): this {
    this.clear()
    this.#id = this.#isRepeated ? window.setInterval(this.#onTime, this.#ms) : window.setTimeout(this.#onTime, this.#ms)
    return this
  }

  /** A page ends when it is closed, whatever it waits for. */
  unref(): this {
    return this
  }

  clear(): void {
    window.clearTimeout(this.#id)
    window.clearInterval(this.#id)
  }
}

export const setTimeout = (onTime: () => void, ms = 0): Timer => new Timer(onTime, ms, false)
export const setInterval = (onTime: () => void, ms = 0): Timer => new Timer(onTime, ms, true)
export const clearTimeout = (timer: Timer | undefined): void => timer?.clear()
export { clearTimeout as clearInterval }
