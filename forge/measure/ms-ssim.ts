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

const KERNEL = (() => {
  const raw = Float32Array.from({ length: WINDOW }, (_, i) =>
    Math.exp(-((i - (WINDOW - 1) / 2) ** 2) / (2 * SIGMA ** 2)),
  )
  const total = raw.reduce((sum, value) => sum + value, 0)
  return raw.map((value) => value / total)
})()

/** Gaussian window at every place where it fits whole. */
function blur({ width, height, values }: Plane): Plane {
  const [outWidth, outHeight] = [width - WINDOW + 1, height - WINDOW + 1]
  const rows = new Float32Array(outWidth * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < outWidth; x++) {
      let sum = 0
      for (let k = 0; k < WINDOW; k++) sum += KERNEL[k]! * values[y * width + x + k]!
      rows[y * outWidth + x] = sum
    }
  const out = new Float32Array(outWidth * outHeight)
  for (let y = 0; y < outHeight; y++)
    for (let x = 0; x < outWidth; x++) {
      let sum = 0
      for (let k = 0; k < WINDOW; k++) sum += KERNEL[k]! * rows[(y + k) * outWidth + x]!
      out[y * outWidth + x] = sum
    }
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

const multiply = (a: Plane, b: Plane): Plane => ({ ...a, values: a.values.map((value, i) => value * b.values[i]!) })

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
