/** Exponents of the five scales (Wang, Simoncelli and Bovik 2003, section 3.2). */
const SCALE_WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
const WINDOW = 11
const SIGMA = 1.5
const C1 = (0.01 * 255) ** 2
const C2 = (0.03 * 255) ** 2
const SMALLEST_SIDE = WINDOW * 2 ** (SCALE_WEIGHTS.length - 1)

interface Plane {
  readonly width: number
  readonly height: number
  readonly values: Float32Array
}

/** The window is symmetric: its outermost weight first, its middle last. */
const [K0, K1, K2, K3, K4, K5] = (() => {
  const raw = Array.from({ length: WINDOW }, (_, i) => Math.exp(-((i - (WINDOW - 1) / 2) ** 2) / (2 * SIGMA ** 2)))
  const total = raw.reduce((sum, value) => sum + value, 0)
  return raw.slice(0, 6).map((value) => value / total) as [number, number, number, number, number, number]
})()

/** Eleven samples `step` apart, weighted: written out, because a loop over taps takes three times as long. */
function window(v: Float32Array, at: number, step: number): number {
  return (
    K0 * (v[at]! + v[at + 10 * step]!) +
    K1 * (v[at + step]! + v[at + 9 * step]!) +
    K2 * (v[at + 2 * step]! + v[at + 8 * step]!) +
    K3 * (v[at + 3 * step]! + v[at + 7 * step]!) +
    K4 * (v[at + 4 * step]! + v[at + 6 * step]!) +
    K5 * v[at + 5 * step]!
  )
}

/** Gaussian window at every place where it fits whole. */
function blur({ width, height, values }: Plane): Plane {
  const [outWidth, outHeight] = [width - WINDOW + 1, height - WINDOW + 1]
  const rows = new Float32Array(outWidth * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < outWidth; x++) rows[y * outWidth + x] = window(values, y * width + x, 1)
  const out = new Float32Array(outWidth * outHeight)
  for (let i = 0; i < out.length; i++) out[i] = window(rows, i, outWidth)
  return { width: outWidth, height: outHeight, values: out }
}

function halve({ width, height, values }: Plane): Plane {
  const [w, h] = [Math.floor(width / 2), Math.floor(height / 2)]
  const out = new Float32Array(w * h)
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const at = 2 * y * width + 2 * x
      out[y * w + x] = (values[at]! + values[at + 1]! + values[at + width]! + values[at + width + 1]!) / 4
    }
  return { width: w, height: h, values: out }
}

function multiply(a: Plane, b: Plane): Plane {
  const values = new Float32Array(a.values.length)
  for (let i = 0; i < values.length; i++) values[i] = a.values[i]! * b.values[i]!
  return { ...a, values }
}

/** Mean luminance term and mean contrast-structure term at one scale. */
function similarity(a: Plane, b: Plane): { luminance: number; structure: number } {
  const [meanA, meanB] = [blur(a).values, blur(b).values]
  const [squareA, squareB, product] = [
    blur(multiply(a, a)).values,
    blur(multiply(b, b)).values,
    blur(multiply(a, b)).values,
  ]
  let [luminance, structure] = [0, 0]
  for (let i = 0; i < meanA.length; i++) {
    const [ma, mb] = [meanA[i]!, meanB[i]!]
    const cs = (2 * (product[i]! - ma * mb) + C2) / (squareA[i]! - ma * ma + squareB[i]! - mb * mb + C2)
    structure += cs
    luminance += ((2 * ma * mb + C1) / (ma * ma + mb * mb + C1)) * cs
  }
  return { luminance: luminance / meanA.length, structure: structure / meanA.length }
}

/** BT.601 luma of interleaved RGB bytes. */
function toLuma(rgb: Uint8Array, width: number, height: number): Plane {
  const values = new Float32Array(width * height)
  for (let i = 0; i < values.length; i++)
    values[i] = 0.299 * rgb[3 * i]! + 0.587 * rgb[3 * i + 1]! + 0.114 * rgb[3 * i + 2]!
  return { width, height, values }
}

/**
 * Multi-scale structural similarity of luma (Wang, Simoncelli and Bovik 2003): windows that fit whole, 2x2 means between
 * scales.
 *
 * @param a Interleaved RGB bytes, [height, width, 3]. @param b Of the same shape.
 * @returns At most 1, which equal pictures have; negative terms count as 0.
 * @throws {RangeError} If a side is under 176 pixels: five scales need it.
 */
export function msSsim(a: Uint8Array, b: Uint8Array, width: number, height: number): number {
  if (Math.min(width, height) < SMALLEST_SIDE || a.length !== width * height * 3 || b.length !== a.length)
    throw new RangeError(
      `Cannot compare pictures: found ${width} x ${height} with ${a.length} and ${b.length} bytes, expected sides of at least ${SMALLEST_SIDE}`,
    )
  let [left, right] = [toLuma(a, width, height), toLuma(b, width, height)]
  let product = 1
  for (const [scale, weight] of SCALE_WEIGHTS.entries()) {
    const { luminance, structure } = similarity(left, right)
    const isLast = scale === SCALE_WEIGHTS.length - 1
    product *= Math.max(0, isLast ? luminance : structure) ** weight
    if (!isLast) [left, right] = [halve(left), halve(right)]
  }
  return product
}
