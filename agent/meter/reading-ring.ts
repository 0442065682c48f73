/** A power of two; 40 seconds at 100 Hz. */
const CAPACITY = 4096
/** The writer may be this far ahead of what it says while somebody reads. */
const MARGIN = 16
/** Counts stay positive, and whole rounds of the ring fit. */
const COUNT_MASK = 0x7fff_ffff

const [ENDED, WRITTEN] = [0, 1]
const [PERIOD_MS, COST_SHARE] = [0, 1]
const HEADER_BYTES = 8
const HEADER_NUMBERS = 2

/**
 * Readings on their way from the thread that takes them to the one that counts: numbers in memory that both see. A hundred
 * messages a second would cost more than the readings.
 */
export class ReadingRing {
  readonly memory: SharedArrayBuffer
  readonly #counts: Int32Array
  readonly #numbers: Float64Array
  #taken = 0

  /** @param memory Of the other side; absent: this is the first. */
  constructor(memory = new SharedArrayBuffer(HEADER_BYTES + 8 * (HEADER_NUMBERS + 2 * CAPACITY))) {
    this.memory = memory
    this.#counts = new Int32Array(memory, 0, 2)
    this.#numbers = new Float64Array(memory, HEADER_BYTES)
  }

  /** The mean time between two readings now; 0 before the first. */
  get periodMs(): number {
    return this.#numbers[PERIOD_MS]!
  }

  /** Share of one core that reading takes. */
  get costShare(): number {
    return this.#numbers[COST_SHARE]!
  }

  /** @param watts NaN: the reading failed. */
  put(atMs: number, watts: number, { periodMs, costShare }: { periodMs: number; costShare: number }): void {
    const written = Atomics.load(this.#counts, WRITTEN)
    const at = placeOf(written)
    this.#numbers[at] = atMs
    this.#numbers[at + 1] = watts
    this.#numbers[PERIOD_MS] = periodMs
    this.#numbers[COST_SHARE] = costShare
    Atomics.store(this.#counts, WRITTEN, (written + 1) & COUNT_MASK)
  }

  /** What came since the last time, the oldest first. What the ring had no room for is lost: a gap, as of a late reading. */
  drain(use: (atMs: number, watts: number) => void): void {
    const written = Atomics.load(this.#counts, WRITTEN)
    const waiting = (written - this.#taken) & COUNT_MASK
    for (let left = Math.min(waiting, CAPACITY - MARGIN); left > 0; left--) {
      const at = placeOf((written - left) & COUNT_MASK)
      use(this.#numbers[at]!, this.#numbers[at + 1]!)
    }
    this.#taken = written
  }

  /** Tell the other side to stop. */
  end(): void {
    Atomics.store(this.#counts, ENDED, 1)
    Atomics.notify(this.#counts, ENDED)
  }

  /** Do nothing, with all of this thread. @returns Whether it is to stop. */
  waitForEnd(timeoutMs: number): boolean {
    return Atomics.wait(this.#counts, ENDED, 0, timeoutMs) !== 'timed-out'
  }
}

const placeOf = (count: number): number => HEADER_NUMBERS + 2 * (count & (CAPACITY - 1))
