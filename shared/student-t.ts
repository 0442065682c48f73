const Z = 1.959964
/** Exact where the series below is not good to a thousandth. */
const FEW = [12.7062, 4.3027, 3.1824]

/**
 * The t of a 95 % interval (two-sided) with so many degrees of freedom, to a thousandth.
 *
 * @see Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5
 */
export function studentT95(degreesOfFreedom: number): number {
  const exact = FEW[Math.max(1, Math.floor(degreesOfFreedom)) - 1]
  if (exact !== undefined) return exact
  const v = degreesOfFreedom
  const [z3, z5, z7] = [Z ** 3, Z ** 5, Z ** 7]
  return (
    Z +
    (z3 + Z) / (4 * v) +
    (5 * z5 + 16 * z3 + 3 * Z) / (96 * v ** 2) +
    (3 * z7 + 19 * z5 + 17 * z3 - 15 * Z) / (384 * v ** 3)
  )
}
