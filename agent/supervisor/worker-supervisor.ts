import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Configuration } from '@espalier/shared/configuration'
import { type ModelError, TransportError } from '@espalier/shared/errors'
import type { Backend } from '@espalier/shared/runtime/session'
import { BackOff } from '../back-off.ts'
import type { QualitySample } from '../frame-result.ts'
import type { SourcePicture } from '../source/source.ts'
import type { ProcessedFrame, RuntimeSpeed } from '../worker/messages.ts'
import { isWorn, type WearLimits } from './is-worn.ts'
import { WorkerProcess } from './worker-process.ts'

const FIRST_BACK_OFF_MS = 200
const MAX_BACK_OFF_MS = 10_000
/** After a fresh worker could not be had, the worn one serves on for this long. */
const RENEW_AGAIN_MS = 60_000

export const DEFAULT_WEAR_LIMITS: WearLimits = { maxSwaps: 500, maxRssBytes: 1 << 30 }

/**
 * Child processes run built JavaScript, also when this file itself is read from TypeScript by the tests.
 *
 * @see agent/worker/process.ts
 */
export const WORKER_PATH = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../dist/worker/process.js' : '../worker/process.js', import.meta.url),
)

/** What a worker is started with. */
export interface WorkerSetup {
  readonly familyDir: string
  readonly backend: Backend
  readonly threads: number
}

export interface WorkerOptions extends Omit<WorkerSetup, 'backend'> {
  readonly workerPath: string
  /** `wasm` unless told otherwise. */
  readonly backend?: Backend
  /** A worker that does not answer a frame for this long is killed. */
  readonly frameDeadlineMs: number
  /** When a fresh process takes the worker's place between two frames. */
  readonly wear?: WearLimits
  /** What is known of a backend's speed already; a worker measures it otherwise. */
  readonly speedOf?: (setup: WorkerSetup) => RuntimeSpeed | undefined
  /** Called whenever a worker ended that should not have. */
  readonly onDeath: (reason: string) => void
}

export interface WorkerJob extends ProcessedFrame {
  /** When the worker has measured it and is free again; undefined if not asked for or not measurable. */
  readonly quality: Promise<QualitySample | undefined>
}

/** A second worker, warm beside the one that runs. Ends with `takeOver` or `discard`, once. */
export interface Candidate {
  /** Have other variants open instead. @throws As `WorkerSupervisor.openVariants`. */
  openVariants(variants: readonly string[]): Promise<void>
  /**
   * Let it have the frames from the next one on. Call between two frames.
   *
   * @throws {TransportError} If it died meanwhile, or a frame is being worked on; the old one goes on.
   */
  takeOver(): Predecessor
  discard(): Promise<void>
}

/** The worker that a candidate replaced: warm, without frames, until one of these is called. */
export interface Predecessor {
  /** The candidate did not do: this one has the frames again. Call between two frames. @throws As `takeOver`. */
  giveBack(): void
  release(): Promise<void>
}

/** Keeps one worker process alive: starts it, replaces it when it is worn, starts another when it dies. */
export class WorkerSupervisor {
  readonly #options: WorkerOptions
  readonly #stopping = new AbortController()
  readonly #backOff = new BackOff(FIRST_BACK_OFF_MS, MAX_BACK_OFF_MS)
  readonly #waiting: Array<() => void> = []
  readonly #living = new Set<WorkerProcess>()
  /** Of the worker that has the frames, and of the one that starts after it if it dies. */
  #setup: WorkerSetup
  #worker: WorkerProcess | undefined
  #running: { readonly worker: WorkerProcess; readonly speed: RuntimeSpeed } | undefined
  #variants: readonly string[] = []
  /** Changes of variant from one frame to the next. */
  #swaps = 0
  #lastVariant: string | undefined
  #successor: { readonly candidate: Candidate; readonly variants: readonly string[] } | undefined
  #isRenewing = false
  #renewals = 0
  #restarts = 0
  #failures = 0
  #ended = { slotUs: 0, agentUs: 0 }
  readonly #speeds = new Map<string, RuntimeSpeed>()

  constructor(options: WorkerOptions) {
    this.#options = options
    const { familyDir, backend = 'wasm', threads } = options
    this.#setup = { familyDir, backend, threads }
  }

  /** What the frames run on, or will once a worker has started. */
  get setup(): WorkerSetup {
    return this.#setup
  }

  get pid(): number | undefined {
    return this.#running?.worker.pid
  }

  /** Memory of the worker that has the frames, in RAM, when it last answered; 0 before. */
  get rssBytes(): number {
    return this.#running?.worker.usage.rssBytes ?? 0
  }

  /** Whether the worker may hold more than it must: it has taken less than half of its memory. */
  get hasRoom(): boolean {
    return this.rssBytes < (this.#options.wear ?? DEFAULT_WEAR_LIMITS).maxRssBytes / 2
  }

  /** Workers that died. */
  get restarts(): number {
    return this.#restarts
  }

  /** Fresh workers that took a worn one's place. */
  get renewals(): number {
    return this.#renewals
  }

  /** Deaths since a worker last did what it was asked. */
  get failures(): number {
    return this.#failures
  }

  /** CPU seconds of all workers so far. */
  get cpuSeconds(): { readonly slot: number; readonly agent: number } {
    const usages = [this.#ended, ...[...this.#living].map(({ usage }) => usage)]
    const sum = (kind: 'slotUs' | 'agentUs'): number => usages.reduce((total, usage) => total + usage[kind], 0) / 1e6
    return { slot: sum('slotUs'), agent: sum('agentUs') }
  }

  start(): void {
    this.#begin()
  }

  /**
   * Wait for a worker that can be asked.
   *
   * @throws `signal.reason` when aborted.
   */
  async ready(signal: AbortSignal): Promise<RuntimeSpeed> {
    while (this.#running === undefined) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake)
          resolve()
        }
        this.#waiting.push(wake)
        signal.addEventListener('abort', wake)
      })
    }
    return this.#running.speed
  }

  /**
   * Take one frame through the worker; wait for `quality` before the next request.
   *
   * @throws {TransportError} If the worker dies or hangs before the result is there; the next worker can be asked.
   * @throws {ModelError} If the worker lives but cannot do this frame.
   */
  process(
    picture: SourcePicture,
    configuration: Configuration,
    { keyFrame, measureQuality }: { keyFrame: boolean; measureQuality: boolean },
  ): Promise<WorkerJob> {
    this.#handOver()
    if (configuration.variant !== this.#lastVariant) this.#swaps++
    this.#lastVariant = configuration.variant
    const asked = { kind: 'process' as const, picture, configuration, keyFrame, measureQuality }
    return new Promise((resolve, reject) => {
      let finishQuality: (quality: QualitySample | undefined) => void = () => undefined
      const quality = new Promise<QualitySample | undefined>((finish) => {
        finishQuality = finish
      })
      const onError = (error: TransportError | ModelError): void => {
        finishQuality(undefined)
        reject(error)
      }
      const worker = this.#running?.worker
      if (worker === undefined) {
        onError(new TransportError('Cannot process frame: no worker is free', { retryable: true }))
        return
      }
      worker.ask('process frame', asked, {
        isLast: ({ kind }) => kind !== 'processed' || !measureQuality,
        onReply: (reply) => {
          this.#prove()
          if (reply.kind === 'processed') resolve({ result: reply.result, timings: reply.timings, quality })
          if (reply.kind !== 'processed' || !measureQuality)
            finishQuality(reply.kind === 'quality' ? reply.quality : undefined)
          this.#renewIfWorn(worker)
        },
        onError,
      })
    })
  }

  /**
   * Have the worker open variants beside what runs, so that the next frame can have any of them at once; it closes
   * all others.
   *
   * @throws {TransportError} If the worker dies or hangs meanwhile; the next one opens them with their first frame.
   * @throws {ModelError} If one cannot be used; what ran before still runs.
   */
  async openVariants(variants: readonly string[]): Promise<void> {
    const worker = this.#running?.worker
    if (worker === undefined) throw new TransportError('Cannot open variants: no worker is free', { retryable: true })
    await worker.openVariants(variants)
    this.#prove()
    this.#variants = variants
  }

  /**
   * Start a second worker beside the one that runs, warm and with these variants open and checked.
   *
   * @param setup What differs from the running worker: another family folder, backend or number of threads.
   * @throws {TransportError} If it ends before it is warm: a family or backend that cannot be used here.
   * @throws {ModelError} If it cannot use a variant.
   */
  async prepare(variants: readonly string[], setup: Partial<WorkerSetup> = {}): Promise<Candidate> {
    const own = { ...this.#setup, ...setup }
    const worker = this.#spawn(own)
    const discard = async (): Promise<void> => {
      worker.kill()
      await worker.ended
    }
    try {
      const speed = await worker.ready
      let open = variants
      await worker.openVariants(open)
      return {
        openVariants: async (others) => {
          await worker.openVariants(others)
          open = others
        },
        takeOver: () => this.#takeOver(own, { worker, speed }, open),
        discard,
      }
    } catch (error) {
      await discard()
      throw error
    }
  }

  /** End the worker at once; another one starts. */
  restart(): void {
    this.#worker?.kill()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const worker of this.#living) worker.kill()
    await Promise.all([...this.#living].map(({ ended }) => ended))
  }

  #takeOver(
    setup: WorkerSetup,
    running: { readonly worker: WorkerProcess; readonly speed: RuntimeSpeed },
    variants: readonly string[],
  ): Predecessor {
    const before = { setup: this.#setup, running: this.#running, variants: this.#variants, swaps: this.#swaps }
    const put = (to: typeof before): void => {
      // None runs where the old one just died: whoever is warm is welcome.
      if (this.#running?.worker.isFree === false || to.running?.worker.isFree !== true)
        throw new TransportError('Cannot hand over: a worker died or has a frame', { retryable: true })
      // One that is only starting is not needed any more.
      const starting = this.#worker === this.#running?.worker ? undefined : this.#worker
      this.#setup = to.setup
      this.#running = to.running
      this.#worker = to.running.worker
      this.#variants = to.variants
      this.#swaps = to.swaps
      starting?.kill()
      for (const wake of this.#waiting.splice(0)) wake()
    }
    const retire = async (worker: WorkerProcess | undefined): Promise<void> => {
      worker?.kill()
      await worker?.ended
    }
    put({ setup, running, variants, swaps: 0 })
    return {
      giveBack: () => {
        const failed = this.#worker
        put(before)
        void retire(failed)
      },
      release: () => retire(before.running?.worker),
    }
  }

  #handOver(): void {
    const successor = this.#successor
    if (successor === undefined) return
    this.#successor = undefined
    if (successor.variants !== this.#variants) {
      void this.#offer(successor.candidate, successor.variants)
      return
    }
    this.#isRenewing = false
    try {
      void successor.candidate.takeOver().release()
      this.#renewals++
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      void successor.candidate.discard()
    }
  }

  /** A fresh worker is made ready in the background and takes over with a later frame. */
  #renewIfWorn(worker: WorkerProcess): void {
    const { ageMs, usage } = worker
    const wear = { swaps: this.#swaps, rssBytes: usage.rssBytes, ageMs }
    if (this.#isRenewing || !isWorn(wear, this.#options.wear ?? DEFAULT_WEAR_LIMITS)) return
    this.#isRenewing = true
    const variants = this.#variants
    void this.prepare(variants).then(
      (candidate) => this.#offer(candidate, variants),
      () => this.#endRenewal(RENEW_AGAIN_MS),
    )
  }

  /** What was opened in the running worker meanwhile is opened in the fresh one too: no frame must wait for it. */
  async #offer(candidate: Candidate, opened: readonly string[]): Promise<void> {
    const setup = this.#setup
    try {
      let variants = opened
      while (variants !== this.#variants) {
        variants = this.#variants
        await candidate.openVariants(variants)
      }
      // Meanwhile another family or backend may have taken over.
      if (this.#setup !== setup) throw new TransportError('Cannot hand over: another took over', { retryable: true })
      this.#successor = { candidate, variants }
    } catch {
      await candidate.discard()
      this.#endRenewal(RENEW_AGAIN_MS)
    }
  }

  #endRenewal(afterMs: number): void {
    setTimeout(() => {
      this.#isRenewing = false
    }, afterMs).unref()
  }

  #prove(): void {
    this.#failures = 0
    this.#backOff.reset()
  }

  #begin(): void {
    const worker = this.#spawn(this.#setup)
    this.#worker = worker
    this.#swaps = 0
    void worker.ready.then(
      (speed) => {
        if (this.#worker !== worker) return
        this.#running = { worker, speed }
        for (const wake of this.#waiting.splice(0)) wake()
      },
      () => undefined,
    )
  }

  async #beginAgain(reason: string): Promise<void> {
    const { signal } = this.#stopping
    if (signal.aborted) return
    this.#worker = undefined
    this.#running = undefined
    this.#restarts++
    this.#failures++
    this.#options.onDeath(reason)
    await delay(this.#backOff.next(), undefined, { signal }).catch(() => undefined)
    if (!signal.aborted && this.#worker === undefined) this.#begin()
  }

  #spawn(setup: WorkerSetup): WorkerProcess {
    const { workerPath, frameDeadlineMs, speedOf } = this.#options
    const key = JSON.stringify(setup)
    const known = speedOf?.(setup) ?? this.#speeds.get(key)
    const worker = new WorkerProcess({ ...setup, workerPath, frameDeadlineMs, speed: known })
    this.#living.add(worker)
    void worker.ready.then(
      (speed) => this.#speeds.set(key, speed),
      () => undefined,
    )
    void worker.ended.then((reason) => {
      this.#living.delete(worker)
      const { slotUs, agentUs } = worker.usage
      this.#ended = { slotUs: this.#ended.slotUs + slotUs, agentUs: this.#ended.agentUs + agentUs }
      // One that was replaced or given up ends because it should.
      if (this.#worker === worker) void this.#beginAgain(reason)
    })
    return worker
  }
}
