import fc from 'fast-check'
import { expect, test } from 'vitest'
import { squarify } from '../../../controller/web/parts/squarify.ts'

test('squarify() fills the whole with tiles of the given areas that do not leave it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 60 }),
      fc.double({ min: 0.3, max: 4, noNaN: true }),
      (unsorted, aspect) => {
        const values = unsorted.sort((a, b) => b - a)
        const total = values.reduce((sum, value) => sum + value, 0)
        const tiles = squarify(values, aspect)
        expect(tiles).toHaveLength(values.length)
        for (const [i, { x, y, width, height }] of tiles.entries()) {
          expect(width * height).toBeCloseTo(values[i]! / total, 6)
          expect(Math.min(x, y)).toBeGreaterThan(-1e-9)
          expect(Math.max(x + width, y + height)).toBeLessThan(1 + 1e-9)
        }
      },
    ),
  )
})
