import { join } from 'node:path'
import type { WorkerSupervisor } from '@espalier/agent/supervisor/worker-supervisor'
import type { Configuration } from '@espalier/shared/configuration'
import { runSwaps } from 'espalier/bench/swap-run'
import { describe, expect, test } from 'vitest'
import { FAMILY, withWorker } from './with-worker.ts'

const picture = { width: 32, height: 32, rgb: new Uint8Array(32 * 32 * 3).fill(90) }
const configuration: Configuration = {
  family: 'kodo',
  variant: 'tiny',
  alpha255: 128,
  mode: 'merged',
  backend: 'wasm',
  threads: 1,
  width: 32,
  height: 32,
  frameRate: 10,
}

test('40 swaps of variant and alpha, and fresh workers between, keep every frame in order', async () => {
  let state = 7
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
  // A busy machine drops frames with and without swaps, and the slot counts them; that swaps drop none on a quiet one,
  // and what a busy one drops, is measured: docs/results/swap.md.
  const size = { width: 64, height: 48 }
  const run = await runSwaps({
    swaps: 40,
    random,
    maxSwaps: 4,
    size,
    frameRate: 2.5,
    steadyFrames: 3,
    untilRenewed: true,
  })

  expect(run).toMatchObject({ repeated: 0, outOfOrder: 0, unfollowable: 0, lost: 0, deaths: [], unexplained: 0 })
  expect(run.renewals).toBeGreaterThan(0)
  expect(run.alphaMs.length + run.variantMs.length).toBe(40)
}, 120_000)

describe('WorkerSupervisor.prepare()', () => {
  const patience = { frameDeadlineMs: 10_000 }
  const frame = (worker: WorkerSupervisor) =>
    worker.process(picture, configuration, { keyFrame: true, measureQuality: false })

  test('lets a second worker take over between two frames, and gives the first one back', () =>
    withWorker(async (worker, deaths) => {
      const first = worker.pid
      const candidate = await worker.prepare(['tiny'])
      await frame(worker)
      const predecessor = candidate.takeOver()
      const second = worker.pid
      expect(second).not.toBe(first)
      const { result } = await frame(worker)
      predecessor.giveBack()
      expect(worker.pid).toBe(first)
      expect((await frame(worker)).result).toEqual(result)
      expect(deaths).toEqual([])
    }, patience))

  test('refuses to hand over while a frame is being worked on; the old worker finishes it', () =>
    withWorker(async (worker) => {
      const candidate = await worker.prepare(['tiny'])
      const first = worker.pid
      const job = frame(worker)
      expect(() => candidate.takeOver()).toThrow(/Cannot hand over/)
      await job
      expect(worker.pid).toBe(first)
      await candidate.discard()
    }, patience))

  test('starts another worker when the one that took over dies', () =>
    withWorker(async (worker, deaths) => {
      await (await worker.prepare(['tiny'])).takeOver().release()
      process.kill(worker.pid!, 'SIGKILL')
      while (worker.pid !== undefined) await new Promise((done) => setTimeout(done, 10))
      await worker.ready(new AbortController().signal)
      await frame(worker)
      expect(deaths).toHaveLength(1)
    }, patience))

  test('says why a folder or a variant cannot be had, and keeps what runs', () =>
    withWorker(async (worker, deaths) => {
      const first = worker.pid
      await expect(worker.prepare(['tiny'], { familyDir: join(FAMILY, 'absent') })).rejects.toThrow(/absent/)
      await expect(worker.prepare(['absent'])).rejects.toThrow(/"absent"/)
      expect(worker.pid).toBe(first)
      await frame(worker)
      expect(deaths).toEqual([])
    }, patience))
})
