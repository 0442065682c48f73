import { setTimeout as delay } from 'node:timers/promises'
import type { Plan } from '@espalier/agent/governor/governor'
import type { SinkFrame } from '@espalier/agent/sink/sink'
import { Slot } from '@espalier/agent/slot/slot'
import { openImageFolder } from '@espalier/agent/source/image-folder'
import { DEFAULT_WEAR_LIMITS, WORKER_PATH, WorkerSupervisor } from '@espalier/agent/supervisor/worker-supervisor'
import { readHeader } from '@espalier/shared/codec/container'
import type { Configuration } from '@espalier/shared/configuration'
import { InvariantError } from '@espalier/shared/errors'
import { slotIdSchema } from '@espalier/shared/ids'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { CLIP_DIR, DEFAULT_FAMILY_DIR } from '../models.ts'

/** A swap that shows in none of so many frames did not happen. */
const LOST_AFTER_FRAMES = 50
/** Frames of a fresh worker that are looked at. */
const AFTER_FRAMES = 3
const FRAME_DEADLINE_MS = 15_000

export interface SwapRunOptions {
  readonly swaps: number
  /** Frames before the first swap: what this machine drops by itself. */
  readonly steadyFrames: number
  /** Frames before those, which are not looked at; none unless told. */
  readonly warmUpFrames?: number
  readonly size: { readonly width: number; readonly height: number }
  readonly frameRate: number
  /** In [0, 1). */
  readonly random: () => number
  /** A fresh worker takes over after so many openings. */
  readonly maxSwaps: number
  /** Play on after the last swap until a fresh worker has taken over. */
  readonly untilRenewed?: boolean
  readonly onSwap?: (done: number) => void
}

export interface SwapRun {
  readonly frames: number
  /** Before the first swap, and from then on. */
  readonly droppedSteady: number
  readonly dropped: number
  /** Of all dropped ones, those that the slot itself does not know of. */
  readonly unexplained: number
  readonly repeated: number
  readonly outOfOrder: number
  /** Inter frames that name another frame than the one sent before them: a receiver could not decode them. */
  readonly unfollowable: number
  /** Swaps that no frame showed. */
  readonly lost: number
  readonly renewals: number
  readonly deaths: readonly string[]
  /** From the command, or the arrival of the next frame where that is later, to the first frame done with it. */
  readonly alphaMs: readonly number[]
  readonly variantMs: readonly number[]
  /** Of each frame, from the moment it was due. */
  readonly latencyMs: readonly number[]
  /** Of this process, the control process, and of the worker, at each swap. */
  readonly rssBytes: readonly number[]
  readonly workerRssBytes: readonly number[]
}

interface Awaited {
  readonly variant: string
  readonly alpha255: number
  readonly commandedMs: number
  nextArrivalMs: number | undefined
  frames: number
  readonly onShown: (tookMs: number | undefined) => void
}

/** Reads what a slot sends: the order of its frames, and when a swap shows. */
class Watch {
  readonly #variants: readonly string[]
  readonly #intervalMs: number
  #firstMs: number | undefined
  #lastIndex = -1
  #lastCrc = 0
  #awaited: Awaited | undefined
  readonly latencyMs: number[] = []
  readonly counts = { frames: 0, dropped: 0, repeated: 0, outOfOrder: 0, unfollowable: 0 }

  constructor(variants: readonly string[], intervalMs: number) {
    this.#variants = variants
    this.#intervalMs = intervalMs
  }

  /** @returns Milliseconds until it showed; undefined if it did not. */
  awaitSwap(swap: Pick<Awaited, 'variant' | 'alpha255'>): Promise<number | undefined> {
    return new Promise((onShown) => {
      this.#awaited = { ...swap, commandedMs: performance.now(), nextArrivalMs: undefined, frames: 0, onShown }
    })
  }

  record({ capturedWallMs: arrivedMs, result }: SinkFrame): void {
    if (result.kind !== 'stream') throw new InvariantError('Cannot follow swaps: found no stream')
    const doneMs = performance.now()
    this.#firstMs ??= arrivedMs
    this.latencyMs.push(doneMs - arrivedMs)
    this.#order(Math.round((arrivedMs - this.#firstMs) / this.#intervalMs))
    const { variantIndex, alpha255, frameKind, referenceCrc, crc } = readHeader(result.stream)
    if (frameKind === 'inter' && referenceCrc !== this.#lastCrc) this.counts.unfollowable++
    this.#lastCrc = crc
    const awaited = this.#awaited
    if (awaited === undefined) return
    if (arrivedMs >= awaited.commandedMs) awaited.nextArrivalMs ??= arrivedMs
    const isShown = awaited.variant === this.#variants[variantIndex] && awaited.alpha255 === alpha255
    if (!isShown && ++awaited.frames < LOST_AFTER_FRAMES) return
    this.#awaited = undefined
    const from = Math.max(awaited.commandedMs, Math.min(arrivedMs, awaited.nextArrivalMs ?? arrivedMs))
    awaited.onShown(isShown ? doneMs - from : undefined)
  }

  #order(index: number): void {
    this.counts.frames++
    const step = index - this.#lastIndex
    if (step > 1) this.counts.dropped += step - 1
    if (step === 0) this.counts.repeated++
    if (step < 0) this.counts.outOfOrder++
    this.#lastIndex = Math.max(this.#lastIndex, index)
  }
}

/** Swap variants and alphas of a slot with a real worker, one after the other, while it plays the clip. */
export async function runSwaps(options: SwapRunOptions): Promise<SwapRun> {
  const { swaps, random, size, frameRate, onSwap } = options
  const intervalMs = 1000 / frameRate
  const { manifest } = await openCodecFamily(DEFAULT_FAMILY_DIR)
  const variants = manifest.variants.map(({ id }) => id)
  const planOf = (variant: string, alpha255: number): Plan => {
    const at = variants.indexOf(variant)
    // What it runs, and the rung that the brake would take next.
    const ladder = variants.slice(at, at + 2).map((id) => {
      const configuration: Configuration = {
        family: manifest.family,
        variant: id,
        alpha255,
        mode: 'merged',
        backend: 'wasm',
        threads: 1,
        ...size,
        frameRate,
      }
      return { configuration, rateBps: 0, powerW: 0, utility: 0 }
    })
    return { ladder, leaseBps: undefined }
  }
  const watch = new Watch(variants, intervalMs)
  const deaths: string[] = []
  const supervisor = new WorkerSupervisor({
    workerPath: WORKER_PATH,
    familyDir: DEFAULT_FAMILY_DIR,
    threads: 1,
    frameDeadlineMs: FRAME_DEADLINE_MS,
    wear: { ...DEFAULT_WEAR_LIMITS, maxSwaps: options.maxSwaps },
    onDeath: (reason) => deaths.push(reason),
  })
  const openClip = () => openImageFolder(CLIP_DIR, { loop: true })
  // Wall time that is monotonic: what the sink is told is then exactly when each frame was due.
  const clock = { monotonicMs: () => performance.now(), wallMs: () => performance.now() }
  const slot = new Slot({
    config: {
      slot: slotIdSchema.parse('swaps'),
      source: { kind: 'images', path: CLIP_DIR, frameRate, loop: true },
      sink: { kind: 'discard' },
      weight: 1,
      keyFrameEveryS: 10,
    },
    manifest,
    plan: planOf(variants[0]!, 128),
    stream: await openClip(),
    reopen: openClip,
    sink: {
      send: async (frame) => {
        watch.record(frame)
        return true
      },
      close: async () => undefined,
    },
    supervisor,
    qualityEveryFrames: Number.POSITIVE_INFINITY,
    clock,
    onEvent: ({ message }) => deaths.push(message),
  })
  const stopping = new AbortController()
  supervisor.start()
  const running = slot.run(stopping.signal)
  const [alphaMs, variantMs]: [number[], number[]] = [[], []]
  const [rssBytes, workerRssBytes]: [number[], number[]] = [[], []]
  let [lost, droppedBefore, droppedSteady] = [0, 0, 0]
  try {
    const { warmUpFrames = 0, steadyFrames } = options
    while (watch.counts.frames < warmUpFrames) await delay(intervalMs)
    droppedBefore = watch.counts.dropped
    while (watch.counts.frames < warmUpFrames + steadyFrames) await delay(intervalMs)
    droppedSteady = watch.counts.dropped - droppedBefore
    let variant = variants[0]!
    let alpha255 = 128
    for (let done = 1; done <= swaps; done++) {
      const before = { variant, alpha255 }
      while (variant === before.variant && alpha255 === before.alpha255) {
        variant = variants[Math.floor(random() * variants.length)]!
        alpha255 = Math.floor(random() * 256)
      }
      // At any moment between two frames, not always just after one.
      await delay(random() * intervalMs)
      const shown = watch.awaitSwap({ variant, alpha255 })
      slot.follow(planOf(variant, alpha255))
      const tookMs = await shown
      if (tookMs === undefined) lost++
      else (variant === before.variant ? alphaMs : variantMs).push(tookMs)
      rssBytes.push(process.memoryUsage.rss())
      workerRssBytes.push(supervisor.rssBytes)
      onSwap?.(done)
    }
    while (options.untilRenewed === true && supervisor.renewals === 0 && deaths.length === 0) await delay(intervalMs)
    const renewedAt = watch.counts.frames
    while (options.untilRenewed === true && watch.counts.frames < renewedAt + AFTER_FRAMES) await delay(intervalMs)
  } finally {
    stopping.abort()
    await supervisor.stop()
    await running
  }
  const dropped = watch.counts.dropped - droppedBefore - droppedSteady
  return {
    ...watch.counts,
    dropped,
    droppedSteady,
    unexplained: Math.max(0, watch.counts.dropped - slot.telemetry().dropped),
    lost,
    renewals: supervisor.renewals,
    deaths,
    alphaMs,
    variantMs,
    latencyMs: watch.latencyMs,
    rssBytes,
    workerRssBytes,
  }
}
