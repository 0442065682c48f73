import { svd, svdOfProduct } from '@espalier/forge/graph/svd'
import { floatsOf } from '@espalier/forge/graph/tensor'
import fc from 'fast-check'
import { Matrix } from 'ml-matrix'
import { describe, expect, test } from 'vitest'
import { randomTensor } from './build-graph.ts'

const SEED = 11
const size = fc.integer({ min: 1, max: 12 })
const randomValues = (dims: readonly number[], seed: number): Float64Array =>
  floatsOf(randomTensor(dims, seed), 'random')

const largest = (matrix: Matrix): number => Math.max(0, ...matrix.to1DArray().map(Math.abs))

describe('svd', () => {
  test('reconstructs the matrix from parts that are orthonormal and fall', () => {
    fc.assert(
      fc.property(size, size, fc.nat(), (rows, columns, seed) => {
        const values = randomValues([rows, columns], seed)
        const { left, values: singular, right } = svd(values, rows, columns)
        const rebuilt = left.mmul(Matrix.diag([...singular])).mmul(right)
        expect(largest(rebuilt.sub(Matrix.from1DArray(rows, columns, values)))).toBeLessThan(1e-12)
        const identity = Matrix.eye(singular.length)
        expect(largest(left.transpose().mmul(left).sub(identity))).toBeLessThan(1e-12)
        expect(largest(right.mmul(right.transpose()).sub(identity))).toBeLessThan(1e-12)
        expect(singular.every((value, i) => value >= 0 && value <= (singular[i - 1] ?? Infinity))).toBe(true)
      }),
      { seed: SEED, numRuns: 200 },
    )
  })

  test('of a product is that of the matrix it makes, whatever the rank', () => {
    fc.assert(
      fc.property(size, size, size, fc.nat(), (rows, rank, columns, seed) => {
        const [up, down] = [randomValues([rows, rank], seed), randomValues([rank, columns], seed + 1)]
        const product = Matrix.from1DArray(rows, rank, up).mmul(Matrix.from1DArray(rank, columns, down))
        const { left, values, right } = svdOfProduct(up, down, { rows, rank, columns })
        expect(
          largest(
            left
              .mmul(Matrix.diag([...values]))
              .mmul(right)
              .sub(product),
          ),
        ).toBeLessThan(1e-11)
        const whole = svd(Float64Array.from(product.to1DArray()), rows, columns).values
        for (const [i, value] of values.entries()) expect(value).toBeCloseTo(whole[i]!, 10)
      }),
      { seed: SEED, numRuns: 200 },
    )
  })

  test('of zeros, and of a product with a component of zeros, is finite', () => {
    expect(svd(new Float64Array(6), 3, 2).values).toEqual([0, 0])
    const { values, left } = svdOfProduct(Float64Array.of(1, 0, 2, 0), Float64Array.of(3, 4, 5, 6), {
      rows: 2,
      rank: 2,
      columns: 2,
    })
    expect(values[0]).toBeCloseTo(Math.sqrt(5) * 5, 10)
    expect(values[1]).toBeCloseTo(0, 10)
    expect(left.to1DArray().every(Number.isFinite)).toBe(true)
  })

  test('refuses values that are not finite instead of never ending', () => {
    expect(() => svd(Float64Array.of(1, Number.NaN), 1, 2)).toThrow(
      'Cannot factor a matrix of 1 x 2: found values that are not finite',
    )
  })
})
