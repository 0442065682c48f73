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
  /** Where to look first; absent: nothing is known. */
  readonly start: number | undefined
  /** Asked only where the minimum lies above all that is known, or nothing is. */
  readonly scales: () => PriceScales
  /** Relative distance of the tangents' lower bound from the value at which the price is taken as found. */
  readonly tolerance: number
}

const MAX_STEPS = 200
/** First step away from a price that was right a moment ago, and from a guess. */
const WARM_STEP = 1.01
const COLD_STEP = 1.15
/** Until there is a price on either side, the next lies at most so many times above or below the last. */
const LONGEST_STEP = 4
/** So many steps down from a price that keeps the limit, zero itself is asked. */
const STEPS_TO_ZERO = 5
/**
 * How far beyond the expected minimum the next price lies, as a share of the way: there the other side comes near too.
 * Each time that it still lies on the same side, so many times as far.
 */
const OVERSHOOT = 0.1
const OVERSHOOT_GROWTH = 4
/** Steps over which the two sides should come twice as near. */
const PATIENCE = 3

/** Where two tangents say that the slope is zero, and a share of the way further; undefined if their slopes do not differ. */
function extrapolate(before: Tangent, last: Tangent, overshoot: number): number | undefined {
  const bend = (last.slope - before.slope) / (last.price - before.price)
  return bend > 0 && Number.isFinite(bend) ? last.price - ((1 + overshoot) * last.slope) / bend : undefined
}

/**
 * Minimise between two prices on both sides of the minimum. The slope's change between the last two prices says about how
 * far away it is; a little beyond, so that both sides close in. Where that narrows little, the tangents' crossing is next: it
 * is the minimum itself once there is only one kink between them (Kelley's cutting planes), and it bounds the minimum
 * from below.
 *
 * @param evaluate Is told of two places around the price, as soon as there are.
 */
export function findPrice<T extends Tangent>(
  evaluate: (price: number, between?: readonly [T, T]) => T,
  search: PriceSearch,
): Found<T> {
  const { scales, tolerance } = search
  let over: T | undefined
  let within: T | undefined
  let before: T | undefined
  let last: T | undefined
  let least = Number.POSITIVE_INFINITY
  let overshoot = OVERSHOOT
  const look = (price: number): void => {
    const between: readonly [T, T] | undefined = over && within && [over, within]
    const seen = evaluate(price, between)
    least = Math.min(least, seen.value)
    if (seen.slope < 0) over = seen
    else within = seen
    const isSameSide = last !== undefined && last.slope < 0 === seen.slope < 0
    overshoot = isSameSide && between !== undefined ? overshoot * OVERSHOOT_GROWTH : OVERSHOOT
    ;[before, last] = [last, seen]
  }
  const expected = (): number | undefined => before && last && extrapolate(before, last, overshoot)

  look(search.start ?? scales().scale)
  const shortest = search.start === undefined ? COLD_STEP : WARM_STEP
  for (let step = 0; over === undefined; step++) {
    const { price } = within!
    if (price === 0) return { within, over, least }
    const next = Math.max(price / LONGEST_STEP, Math.min(price / shortest, expected() ?? price))
    look(step === STEPS_TO_ZERO ? 0 : next)
  }
  while (within === undefined) {
    const { scale, largest } = scales()
    const { price } = over!
    if (price >= largest) return { within, over, least }
    const next = Math.min(LONGEST_STEP * price, Math.max(shortest * price, expected() ?? price))
    look(price === 0 ? scale : Math.min(largest, next))
  }
  const widths: number[] = []
  for (let step = 0; step < MAX_STEPS; step++) {
    const [a, b]: [T, T] = [over!, within]
    const crossing = (b.value - b.slope * b.price - a.value + a.slope * a.price) / (a.slope - b.slope)
    const bound = a.value + a.slope * (crossing - a.price)
    if (least - bound <= tolerance * Math.max(1, Math.abs(least))) break
    const isInside = (price: number | undefined): price is number =>
      price !== undefined && price > a.price && price < b.price
    const root = a.price + ((b.price - a.price) * a.slope) / (a.slope - b.slope)
    widths.push(b.price - a.price)
    const isSlow = step >= PATIENCE && widths[step]! > 0.5 * widths[step - PATIENCE]!
    const price = isSlow ? crossing : [expected(), root, crossing].find(isInside)
    if (!isInside(price)) break
    look(price)
  }
  return { within, over, least }
}
