/** A convex, piecewise linear function of a price >= 0 at one place. */
export interface Tangent {
  readonly price: number
  readonly value: number
  /** What the limit leaves at this price: negative where too much is used. */
  readonly slope: number
}

export interface Found<T extends Tangent> {
  /** Of the two sides of the minimum: the one that keeps the limit; absent if no price does. */
  readonly within: T | undefined
  /** Absent if price 0 keeps the limit. */
  readonly over: T | undefined
  /** The least value seen. */
  readonly least: number
}

export interface PriceScales {
  /** A price of the right magnitude. */
  readonly scale: number
  /** Above this no price is tried. */
  readonly largest: number
}

export interface PriceSearch {
  /** Where to look first; 0 if nothing is known. */
  readonly start: number
  /** Asked only where the minimum lies above all that is known. */
  readonly scales: () => PriceScales
  /** Relative distance of the tangents' lower bound from the value at which the price is taken as found. */
  readonly tolerance: number
}

const MAX_STEPS = 200
/** First step away from a price that was right a moment ago, and how it grows. */
const WARM_STEP = 1.01
const GROWTH = 3

/**
 * Minimise between two prices on both sides of the minimum. Where the slopes' line crosses zero is a good next price while
 * there are many pieces between the two; where the tangents cross is the minimum itself once there is only one kink
 * (Kelley's cutting planes), and that crossing bounds the minimum from below.
 */
export function findPrice<T extends Tangent>(evaluate: (price: number) => T, search: PriceSearch): Found<T> {
  const { start, scales, tolerance } = search
  let over: T | undefined
  let within: T | undefined
  let least = Number.POSITIVE_INFINITY
  const look = (price: number): T => {
    const seen = evaluate(price)
    least = Math.min(least, seen.value)
    if (seen.slope < 0) over = seen
    else within = seen
    return seen
  }

  look(start)
  for (let factor = WARM_STEP; over === undefined; factor = 1 + GROWTH * (factor - 1)) {
    const price = within!.price / factor
    if (within!.price === 0) return { within, over, least }
    // Five steps down from a price that keeps the limit, zero itself is asked.
    look(factor > 3 ? 0 : price)
  }
  for (let factor = start > 0 ? WARM_STEP : 2; within === undefined; factor = 1 + GROWTH * (factor - 1)) {
    const { scale, largest } = scales()
    if (over!.price >= largest) return { within, over, least }
    look(Math.min(largest, over!.price === 0 ? scale : over!.price * factor))
  }
  let share = 1
  for (let step = 0; step < MAX_STEPS; step++) {
    const [a, b]: [T, T] = [over!, within]
    const crossing = (b.value - b.slope * b.price - a.value + a.slope * a.price) / (a.slope - b.slope)
    const bound = a.value + a.slope * (crossing - a.price)
    if (least - bound <= tolerance * Math.max(1, Math.abs(least))) break
    const root = a.price + ((b.price - a.price) * a.slope) / (a.slope - b.slope)
    // A root that hardly narrowed the interval is followed by the tangents' crossing.
    const price = share > 0.5 ? crossing : root
    if (!(price > a.price && price < b.price)) break
    look(price)
    share = (within.price - over!.price) / (b.price - a.price)
  }
  return { within, over, least }
}
