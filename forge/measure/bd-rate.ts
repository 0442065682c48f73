export interface RatePoint {
  readonly bpp: number
  readonly psnrDb: number
}

/** Slopes of a monotone piecewise cubic through the points (Fritsch and Carlson 1980, as PCHIP does). */
function pchipSlopes(x: readonly number[], y: readonly number[]): number[] {
  const n = x.length
  const steps = x.slice(1).map((value, i) => value - x[i]!)
  const secants = steps.map((step, i) => (y[i + 1]! - y[i]!) / step)
  if (n === 2) return [secants[0]!, secants[0]!]
  const inner = secants.slice(1).map((after, i) => {
    const before = secants[i]!
    if (before * after <= 0) return 0
    const [w1, w2] = [2 * steps[i + 1]! + steps[i]!, steps[i + 1]! + 2 * steps[i]!]
    return (w1 + w2) / (w1 / before + w2 / after)
  })
  const end = (h0: number, h1: number, s0: number, s1: number): number => {
    const slope = ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
    if (slope * s0 <= 0) return 0
    return s0 * s1 <= 0 && Math.abs(slope) > 3 * Math.abs(s0) ? 3 * s0 : slope
  }
  const first = end(steps[0]!, steps[1]!, secants[0]!, secants[1]!)
  const last = end(steps[n - 2]!, steps[n - 3]!, secants[n - 2]!, secants[n - 3]!)
  return [first, ...inner, last]
}

/** Integral of the piecewise cubic from its first point to `to`. */
function integrateTo(x: readonly number[], y: readonly number[], slopes: readonly number[], to: number): number {
  let sum = 0
  for (let i = 0; i + 1 < x.length && x[i]! < to; i++) {
    const h = x[i + 1]! - x[i]!
    const t = Math.min(1, (to - x[i]!) / h)
    // Hermite basis integrated from 0 to t.
    const [t2, t3, t4] = [t * t, t ** 3, t ** 4]
    sum += h * (y[i]! * (t4 / 2 - t3 + t) + h * slopes[i]! * (t4 / 4 - (2 * t3) / 3 + t2 / 2))
    sum += h * (y[i + 1]! * (-t4 / 2 + t3) + h * slopes[i + 1]! * (t4 / 4 - t3 / 3))
  }
  return sum
}

/**
 * Bjontegaard delta rate: the mean difference of log rate at equal quality, over the qualities that both curves
 * reach, in per cent; negative means that `test` needs less (VCEG-M33, with piecewise cubic interpolation as in JCTVC-L1100).
 *
 * @param anchor At least two points; order does not matter. @param test Likewise.
 * @throws {RangeError} If a curve is no curve, or they share no quality.
 */
export function bdRatePct(anchor: readonly RatePoint[], test: readonly RatePoint[]): number {
  const [a, b] = [anchor, test].map((points) => {
    const sorted = [...points].sort((p, q) => p.psnrDb - q.psnrDb)
    const rising = sorted.filter((point, i) => i === 0 || point.psnrDb > sorted[i - 1]!.psnrDb)
    if (rising.length < 2)
      throw new RangeError(`Cannot compare curves: found ${rising.length} points, expected at least 2`)
    const x = rising.map(({ psnrDb }) => psnrDb)
    const y = rising.map(({ bpp }) => Math.log(bpp))
    return { x, y, slopes: pchipSlopes(x, y) }
  }) as [Curve, Curve]
  const low = Math.max(a.x[0]!, b.x[0]!)
  const high = Math.min(a.x.at(-1)!, b.x.at(-1)!)
  if (high <= low)
    throw new RangeError(
      `Cannot compare curves: they share no quality (${a.x[0]} to ${a.x.at(-1)} dB and ${b.x[0]} to ${b.x.at(-1)} dB)`,
    )
  const mean = ({ x, y, slopes }: Curve): number =>
    (integrateTo(x, y, slopes, high) - integrateTo(x, y, slopes, low)) / (high - low)
  return (Math.exp(mean(b) - mean(a)) - 1) * 100
}

interface Curve {
  readonly x: number[]
  readonly y: number[]
  readonly slopes: number[]
}
