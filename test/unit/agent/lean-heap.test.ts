import { collectGrowth } from '@espalier/agent/lean-heap'
import { expect, test } from 'vitest'

const makeGarbage = (kilobytes: number): number =>
  Array.from({ length: kilobytes }, () => new Uint8Array(1024).fill(1)).reduce((sum, { length }) => sum + length, 0)

const buffersBytes = (): number => process.memoryUsage().arrayBuffers

test('collectGrowth() lets garbage go once there are some megabytes of it', () => {
  collectGrowth()
  const keptBytes = buffersBytes()
  makeGarbage(10_000)
  const grownBytes = buffersBytes() - keptBytes
  collectGrowth()
  expect(grownBytes).toBeGreaterThan(5e6)
  expect(buffersBytes() - keptBytes).toBeLessThan(1e6)
})
