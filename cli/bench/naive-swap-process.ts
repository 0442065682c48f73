import { setTimeout as delay } from 'node:timers/promises'
import { Weights } from '@espalier/shared/codec/weights'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { bakeWeights } from '@espalier/shared/runtime/bake-weights'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { Session } from '@espalier/shared/runtime/session'
import { DEFAULT_FAMILY_DIR } from '../models.ts'
import { seededRandom } from './seeded-random.ts'

// What one would write first, in a process of its own so that its memory is its own: everything in one process, the
// weights in the model, and a new session in place of the old one for each change of variant or alpha.

export interface NaiveRequest {
  readonly swaps: number
  readonly size: { readonly width: number; readonly height: number }
  readonly frameRate: number
}

export interface NaiveRun {
  readonly frames: number
  /** From the moment a frame was due to its latent. */
  readonly latencyMs: readonly number[]
  /** From the command to the first frame done with it, without waiting for that frame to be due. */
  readonly swapMs: readonly number[]
  readonly rssBytes: readonly number[]
}

async function play({ swaps, size: { width, height }, frameRate }: NaiveRequest): Promise<NaiveRun> {
  const family = await openCodecFamily(DEFAULT_FAMILY_DIR)
  const { variants } = family.manifest
  const random = seededRandom(11)
  const picture = {
    type: 'uint8' as const,
    data: new Uint8Array(width * height * 3).map((_, i) => (i * 31) & 0xff),
    dims: [1, height, width, 3],
  }
  const open = async (): Promise<Session> => {
    const { id, encoder } = variants[Math.floor(random() * variants.length)]!
    const [graph, weights] = [await family.readBlob(encoder), await Weights.load(family, encoder)]
    const baked = bakeWeights(graph, weights.at(Math.floor(random() * 256)))
    const { input, output } = encoder
    return openSession(baked, { backend: 'wasm', threads: 1, input, output, weightInputs: [], name: id })
  }
  let session = await open()
  const run = () => session.run(picture, new Map())
  for (let i = 0; i < 10; i++) await run()
  const intervalMs = 1000 / frameRate
  const [latencyMs, swapMs, rssBytes]: [number[], number[], number[]] = [[], [], []]
  let dueMs = performance.now() + intervalMs
  const frame = async (): Promise<void> => {
    await delay(Math.max(0, dueMs - performance.now()))
    await run()
    latencyMs.push(performance.now() - dueMs)
    dueMs += intervalMs
  }
  for (let i = 0; i < swaps; i++) {
    await delay(random() * Math.max(0, dueMs - performance.now()))
    const commandedMs = performance.now()
    await session.close()
    session = await open()
    const openedMs = performance.now()
    const waitMs = Math.max(0, dueMs - openedMs)
    await frame()
    swapMs.push(performance.now() - commandedMs - waitMs)
    rssBytes.push(process.memoryUsage.rss())
  }
  return { frames: latencyMs.length, latencyMs, swapMs, rssBytes }
}

process.once('message', (request: NaiveRequest) => {
  void play(request).then((result) => process.send!(result, () => process.exit(0)))
})
