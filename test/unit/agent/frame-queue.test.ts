import { FrameQueue } from '@espalier/agent/queue/frame-queue'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const { signal } = new AbortController()

describe('FrameQueue', () => {
  test('skips the oldest waiting item when it is full', async () => {
    const queue = new FrameQueue<number>(2)
    expect([queue.offer(1), queue.offer(2), queue.offer(3)]).toEqual([undefined, undefined, 1])
    expect([await queue.take(signal), await queue.take(signal)]).toEqual([2, 3])
  })

  test('hands an item to a taker that waits', async () => {
    const queue = new FrameQueue<string>(2)
    const taken = queue.take(signal)
    queue.offer('frame')
    expect(await taken).toBe('frame')
    expect(queue.length).toBe(0)
  })

  test('passes the reason of an abort on to a taker that waits', async () => {
    const stopping = new AbortController()
    const taken = new FrameQueue<string>(2).take(stopping.signal)
    const reason = new Error('enough')
    stopping.abort(reason)
    await expect(taken).rejects.toBe(reason)
  })

  test('gives or skips each item exactly once, in order, and never holds more than it may', async () => {
    const actions = fc.array(fc.boolean(), { maxLength: 200 })
    await fc.assert(
      fc.asyncProperty(actions, fc.integer({ min: 1, max: 4 }), async (offers, capacity) => {
        const queue = new FrameQueue<number>(capacity)
        const [taken, skipped]: [number[], number[]] = [[], []]
        let offered = 0
        for (const isOffer of offers) {
          if (isOffer) {
            const gone = queue.offer(offered++)
            if (gone !== undefined) skipped.push(gone)
          } else if (queue.length > 0) taken.push(await queue.take(signal))
          expect(queue.length).toBeLessThanOrEqual(capacity)
        }
        while (queue.length > 0) taken.push(await queue.take(signal))
        expect([...taken, ...skipped].sort((a, b) => a - b)).toEqual(Array.from({ length: offered }, (_, i) => i))
        expect(taken).toEqual([...taken].sort((a, b) => a - b))
      }),
    )
  })
})
