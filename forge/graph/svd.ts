import { ModelError } from '@espalier/shared/errors'
import { Matrix, QrDecomposition, SVD } from 'ml-matrix'

/** A matrix as left * diag(values) * right, in C order. */
export interface Svd {
  /** [rows, count], columns of length one. */
  readonly left: Matrix
  /** [count], from the largest down, none below zero. */
  readonly values: readonly number[]
  /** [count, columns], rows of length one. */
  readonly right: Matrix
}

function toMatrix(values: Float64Array, rows: number, columns: number): Matrix {
  if (!values.every(Number.isFinite))
    throw new ModelError(`Cannot factor a matrix of ${rows} x ${columns}: found values that are not finite`)
  return Matrix.from1DArray(rows, columns, values)
}

function decompose(matrix: Matrix): Svd {
  const found = new SVD(matrix, { autoTranspose: true })
  return { left: found.leftSingularVectors, values: found.diagonal, right: found.rightSingularVectors.transpose() }
}

/**
 * The singular value decomposition of a matrix in C order. 512 x 512 takes about two seconds.
 *
 * @throws {ModelError} If a value is not finite.
 */
export const svd = (values: Float64Array, rows: number, columns: number): Svd =>
  decompose(toMatrix(values, rows, columns))

/**
 * That of a product [rows, rank] * [rank, columns], at the cost of the rank: both are made orthogonal first (QR), and
 * what is left to decompose is rank x rank.
 *
 * @throws {ModelError} If a value is not finite.
 */
export function svdOfProduct(
  up: Float64Array,
  down: Float64Array,
  { rows, rank, columns }: { rows: number; rank: number; columns: number },
): Svd {
  const [a, b] = [toMatrix(up, rows, rank), toMatrix(down, rank, columns)]
  if (rank > rows || rank > columns) return decompose(a.mmul(b))
  const [first, second] = [new QrDecomposition(a), new QrDecomposition(b.transpose())]
  const inner = decompose(first.upperTriangularMatrix.mmul(second.upperTriangularMatrix.transpose()))
  return {
    left: first.orthogonalMatrix.mmul(inner.left),
    values: inner.values,
    right: inner.right.mmul(second.orthogonalMatrix.transpose()),
  }
}
