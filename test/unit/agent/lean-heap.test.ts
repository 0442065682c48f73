import { setTimeout as delay } from 'node:timers/promises'
import { collectGrowth } from '@espalier/agent/lean-heap'
import { expect, test } from 'vitest'

/** The engine frees buffers beside the program. */
const SETTLE_MS = 200

const makeGarbage = (kilobytes: number): number =>
  Array.from({ length: kilobytes }, () => new Uint8Array(1024).fill(1)).reduce((sum, { length }) => sum + length, 0)

const buffersBytes = (): number => process.memoryUsage().arrayBuffers

test('collectGrowth() lets garbage go once there are some megabytes of it', async () => {
  collectGrowth()
  await delay(SETTLE_MS)
  collectGrowth()
  const keptBytes = buffersBytes()
  makeGarbage(10_000)
  const grownBytes = buffersBytes() - keptBytes
  expect(grownBytes).toBeGreaterThan(5e6)
  const leftBytes = (): number => {
    collectGrowth()
    return buffersBytes() - keptBytes
  }
  await expect.poll(leftBytes).toBeLessThan(1e6)
})
