import { isWorn } from '@espalier/agent/supervisor/is-worn'
import { expect, test } from 'vitest'

const limits = { maxSwaps: 10, maxRssBytes: 1000 }

test('isWorn() says so after so many swaps, whatever the age', () => {
  expect(isWorn({ swaps: 9, rssBytes: 0, ageMs: 1e9 }, limits)).toBe(false)
  expect(isWorn({ swaps: 10, rssBytes: 0, ageMs: 0 }, limits)).toBe(true)
})

test('isWorn() says so over the memory limit, but never of a worker that only just started', () => {
  expect(isWorn({ swaps: 0, rssBytes: 1000, ageMs: 1e9 }, limits)).toBe(false)
  expect(isWorn({ swaps: 0, rssBytes: 1001, ageMs: 60_000 }, limits)).toBe(true)
  expect(isWorn({ swaps: 0, rssBytes: 1001, ageMs: 59_999 }, limits)).toBe(false)
})
