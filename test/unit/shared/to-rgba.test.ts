import { toRgba } from '@espalier/shared/codec/to-rgba'
import { expect, test } from 'vitest'

test('pixels keep their order and become opaque; what was given stays as it is', () => {
  const rgb = new Uint8Array([1, 2, 3, 254, 255, 0])
  expect([...toRgba(rgb)]).toEqual([1, 2, 3, 255, 254, 255, 0, 255])
  expect([...rgb]).toEqual([1, 2, 3, 254, 255, 0])
  expect(toRgba(new Uint8Array(0))).toHaveLength(0)
})
