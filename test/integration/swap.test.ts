import { join } from 'node:path'
import type { Plan } from '@espalier/agent/governor/governor'
import { Slot } from '@espalier/agent/slot/slot'
import type { WorkerSupervisor } from '@espalier/agent/supervisor/worker-supervisor'
import { systemClock } from '@espalier/shared/clock'
import type { Configuration } from '@espalier/shared/configuration'
import { slotIdSchema } from '@espalier/shared/ids'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
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

test('a variant is opened while no frame waits, and stays open for when it is wanted again', () =>
  withWorker(
    async (supervisor) => {
      const { manifest } = await openCodecFamily(FAMILY)
      const planOf = (variant: string): Plan => ({
        ladder: [{ configuration: { ...configuration, variant }, rateBps: 0, powerW: 0, utility: 0 }],
        leaseBps: undefined,
      })
      let [frames, asked] = [0, 0]
      let nextFrame: () => void = () => undefined
      const stream = {
        width: 32,
        height: 32,
        next: async () => {
          if (asked++ > 0)
            await new Promise<void>((resolve) => {
              nextFrame = resolve
            })
          return picture
        },
        close: async () => undefined,
      }
      const slot = new Slot({
        config: {
          slot: slotIdSchema.parse('cam0'),
          source: { kind: 'images', path: '', frameRate: 10, loop: true },
          sink: { kind: 'discard' },
          weight: 1,
          keyFrameEveryS: 10,
        },
        manifest,
        plan: planOf('tiny'),
        stream,
        reopen: async () => stream,
        sink: {
          send: async () => {
            frames++
            return true
          },
          close: async () => undefined,
        },
        supervisor,
        qualityEveryFrames: 1000,
        clock: systemClock,
        onEvent: () => undefined,
      })
      const stopping = new AbortController()
      const running = slot.run(stopping.signal)
      const until = async (isSo: () => boolean): Promise<void> => {
        while (!isSo()) await new Promise((done) => setTimeout(done, 10))
      }
      const runs = (): string => slot.reported().configuration.variant
      await until(() => frames === 1)
      slot.follow(planOf('small'))
      await until(() => runs() === 'small')
      expect(frames).toBe(1)
      // Open already, so at once.
      slot.follow(planOf('tiny'))
      expect(runs()).toBe('tiny')
      slot.follow(planOf('small'))
      expect(runs()).toBe('small')
      nextFrame()
      await until(() => frames === 2)
      stopping.abort()
      nextFrame()
      await running
    },
    { frameDeadlineMs: 15_000 },
  ))

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
