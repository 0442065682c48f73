import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '@espalier/shared/clock'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { describeError, ModelError, TransportError } from '@espalier/shared/errors'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { DeviceEvent, Reported, Telemetry } from '@espalier/shared/messages/device'
import { BackOff } from '../back-off.ts'
import { isSameRuntime, type Runtime } from '../backends/runtime.ts'
import type { SlotConfig } from '../config.ts'
import { bitsOf } from '../frame-result.ts'
import type { PowerReading } from '../governor/brake.ts'
import { type Expectation, type Factors, Governor, type Plan } from '../governor/governor.ts'
import { rateModelOf } from '../governor/rate-model.ts'
import { FrameQueue } from '../queue/frame-queue.ts'
import { SlotRecorder } from '../recorder/slot-recorder.ts'
import type { Sink } from '../sink/sink.ts'
import { makeDecimator, playFrames } from '../source/frames.ts'
import type { PictureStream, SourceFrame } from '../source/source.ts'
import type { WorkerJob, WorkerSupervisor } from '../supervisor/worker-supervisor.ts'
import { KeyFrameRule } from './key-frame-rule.ts'
import { RuntimeChange } from './runtime-change.ts'

/** More would only add latency: a slot that is too slow stays too slow. */
const QUEUE_CAPACITY = 3
/** So many deaths without a frame between them are no accident. */
const FAILED_AFTER_DEATHS = 3
const FIRST_REOPEN_MS = 1000
const MAX_REOPEN_MS = 30_000

export interface SlotOptions {
  readonly config: SlotConfig
  readonly manifest: Manifest
  readonly plan: Plan
  /** Already open; closed by the slot. */
  readonly stream: PictureStream
  /** Opens the source again after it failed. */
  readonly reopen: () => Promise<PictureStream>
  readonly sink: Sink
  readonly supervisor: WorkerSupervisor
  readonly qualityEveryFrames: number
  readonly clock: Clock
  readonly onEvent: (event: DeviceEvent) => void
  /** Told of each frame that was done, and what was expected of it. */
  readonly onFrame?: (frame: DoneFrame) => void
}

export interface DoneFrame {
  readonly configuration: Configuration
  readonly bits: number
  readonly latencyMs: number
  readonly expected: Expectation
}

/** Another version of the family, or another worker, for the frames from a moment on. */
export interface Succession {
  /** Called between two frames. @throws {TransportError} If it cannot be done now; all stays as it is. */
  readonly handOver: () => void
  readonly manifest: Manifest
  /** Its variants are open in the worker that takes over. */
  readonly plan: Plan
}

export const variantsOf = ({ ladder }: Plan): string[] => [
  ...new Set(ladder.map(({ configuration }) => configuration.variant)),
]

/** One for the whole ladder: `findRefusal` refuses a mixed one. */
export function runtimeOf({ ladder }: Plan): Runtime {
  const { backend, threads } = ladder[0]!.configuration
  return { backend, threads }
}

/** One task of the device: takes its source's frames through the queue and the worker to the sink. */
export class Slot {
  readonly #options: SlotOptions
  readonly #governor: Governor
  readonly #recorder = new SlotRecorder()
  readonly #queue = new FrameQueue<SourceFrame>(QUEUE_CAPACITY)
  readonly #isTaken = makeDecimator()
  /** To be followed once its variants are open. */
  #next: Plan | undefined
  #followed: Plan
  /** Variants that the worker has open and checked, or will open with their first frame after a death. */
  #opened: readonly string[] = []
  #refusal: string | undefined
  #failure: string | undefined
  /** No frame is here and none is being worked on. */
  #isIdle = false
  #openingAhead: Promise<void> | undefined
  #lastKeyStream: Uint8Array | undefined
  readonly #keyFrames: KeyFrameRule
  /** From the arrival of a frame at the worker until the worker is free again. */
  #isBusy = false
  #succession: (Succession & { readonly onDone: (error?: unknown) => void }) | undefined
  readonly #runtimeChange: RuntimeChange
  /** Undefined: no frames are wanted. */
  #playing: AbortController | undefined = new AbortController()
  #onResume: () => void = () => undefined

  constructor(options: SlotOptions) {
    this.#options = options
    const { manifest, plan, clock } = options
    this.#keyFrames = new KeyFrameRule(options.config.keyFrameEveryS)
    this.#runtimeChange = new RuntimeChange(options.supervisor)
    this.#followed = plan
    this.#governor = new Governor(plan, clock.monotonicMs(), rateModelOf(manifest))
  }

  get config(): SlotConfig {
    return this.#options.config
  }

  get size(): { readonly width: number; readonly height: number } {
    return this.#options.stream
  }

  /** The newest stream that stands alone, for a snapshot; a classifier has none. */
  get lastKeyStream(): Uint8Array | undefined {
    return this.#lastKeyStream
  }

  /** What its frames follow; one that came later may be on its way. */
  get followed(): Plan {
    return this.#followed
  }

  /** Make the next frame one that stands alone. */
  requestKeyFrame(): void {
    this.#keyFrames.request()
  }

  /**
   * Run another plan as soon as every variant of its ladder is open and gave its golden output: from the next frame on
   * where all are open already.
   */
  follow(plan: Plan): void {
    this.#refusal = undefined
    const isOpen =
      isSameRuntime(runtimeOf(plan), this.#options.supervisor.setup) &&
      variantsOf(plan).every((variant) => this.#opened.includes(variant))
    // While another plan's variants are being opened, what the worker will have open is not known yet.
    if (isOpen && this.#next === undefined) this.#take(plan)
    else this.#next = plan
    if (this.#isIdle && this.#openingAhead === undefined)
      this.#openingAhead = this.#openAhead().finally(() => {
        this.#openingAhead = undefined
        if (!this.#isBusy) this.#handOver()
      })
  }

  get isPaused(): boolean {
    return this.#playing === undefined
  }

  /** Close the source, and open it again: no frame is seen, dropped or counted in between. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.isPaused) return
    if (isPaused) {
      this.#playing?.abort()
      this.#playing = undefined
    } else {
      this.#playing = new AbortController()
      this.#onResume()
    }
  }

  /**
   * Between two frames, let another worker have them, with the plan and the manifest of the version that it runs.
   *
   * @throws As `succession.handOver`.
   */
  succeed(succession: Succession): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#succession?.onDone(new TransportError('Cannot hand over: another is next', { retryable: true }))
      this.#succession = { ...succession, onDone: (error) => (error === undefined ? resolve() : reject(error)) }
      if (!this.#isBusy && this.#openingAhead === undefined) this.#handOver()
    })
  }

  /** What the brake has decided on last. */
  get configuration(): Configuration {
    return this.#governor.configuration
  }

  /** How what was measured differs from what the plan expects. */
  factors(): Factors {
    return this.#governor.factors(this.#options.clock.monotonicMs())
  }

  /** Once a second: what the slot drew, and the brake, which must see a limit even while no frame passes. */
  recordPower(reading: Omit<PowerReading, 'expectedW'>): void {
    this.#governor.recordPower(reading)
    this.#governor.decide(this.#options.clock.monotonicMs())
  }

  /** Keep what runs; tell the controller why. */
  refuse(reason: string): void {
    this.#next = undefined
    this.#runtimeChange.abandon()
    this.#refusal = reason
  }

  reported(): Reported['slots'][number] {
    const { phase, reason } = this.#phase()
    return {
      slot: this.config.slot,
      configuration: this.#governor.configuration,
      phase,
      ...(reason === undefined ? {} : { reason: reason.slice(0, 500) }),
    }
  }

  telemetry(): Omit<Telemetry['slots'][number], 'joules' | 'idleJoules'> {
    return {
      slot: this.config.slot,
      configuration: configurationId(this.#governor.configuration),
      ...this.#recorder.counters(),
    }
  }

  /** Work until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const ignoreAbort = (error: unknown): void => {
      if (!signal.aborted) throw error
    }
    await Promise.all([this.#feed(signal).catch(ignoreAbort), this.#pump(signal).catch(ignoreAbort)])
    await this.#options.sink.close()
  }

  #handOver(): void {
    const succession = this.#succession
    if (succession === undefined) return
    this.#succession = undefined
    const { handOver, manifest, plan, onDone } = succession
    try {
      handOver()
    } catch (error) {
      onDone(error)
      return
    }
    // A change of backend that was under way was the old worker's.
    this.#runtimeChange.abandon()
    this.#next = undefined
    this.#refusal = undefined
    this.#failure = undefined
    this.#opened = variantsOf(plan)
    this.#followed = plan
    this.#governor.follow(plan, this.#options.clock.monotonicMs(), rateModelOf(manifest))
    // Whoever takes over knows nothing of the frames before.
    this.#keyFrames.request()
    onDone()
  }

  #phase(): { phase: Reported['slots'][number]['phase']; reason?: string | undefined } {
    if (this.#refusal !== undefined) return { phase: 'refused', reason: this.#refusal }
    if (this.#failure !== undefined) return { phase: 'failed', reason: this.#failure }
    const { failures, pid } = this.#options.supervisor
    if (failures >= FAILED_AFTER_DEATHS) return { phase: 'failed', reason: `${failures} workers died without a frame` }
    if (pid === undefined) return { phase: 'starting' }
    if (this.#next !== undefined)
      return { phase: 'starting', reason: `opening variant "${this.#next.ladder[0]!.configuration.variant}"` }
    return { phase: this.#governor.isBraking ? 'braked' : 'applied' }
  }

  /** Source to queue. A source that fails is opened again; one that ends, ends the slot's work. */
  async #feed(signal: AbortSignal): Promise<void> {
    // Nothing is missed by starting when somebody can work: the first worker takes seconds to warm up.
    await this.#options.supervisor.ready(signal)
    const backOff = new BackOff(FIRST_REOPEN_MS, MAX_REOPEN_MS)
    let stream: PictureStream | undefined = this.#options.stream
    while (!signal.aborted) {
      const playing = await this.#untilWanted(signal)
      try {
        stream ??= await this.#options.reopen()
        await this.#play(stream, AbortSignal.any([signal, playing]), () => backOff.reset())
        if (!playing.aborted) return
      } catch (error) {
        if (signal.aborted) return
        if (!playing.aborted) this.#event('source-failed', describeError(error))
      } finally {
        await stream?.close()
        stream = undefined
      }
      if (!playing.aborted) await delay(backOff.next(), undefined, { signal })
    }
  }

  /** @returns Aborts when frames are no longer wanted. @throws `signal.reason` when aborted. */
  async #untilWanted(signal: AbortSignal): Promise<AbortSignal> {
    while (this.#playing === undefined) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        this.#onResume = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
    return this.#playing.signal
  }

  async #play(stream: PictureStream, signal: AbortSignal, onFrame: () => void): Promise<void> {
    const sourceRate = this.config.source.frameRate
    for await (const frame of playFrames(stream, sourceRate, this.#options.clock, signal)) {
      onFrame()
      const wantedRate = this.#governor.configuration.frameRate
      if (frame.skippedBefore > 0) this.#drop(Math.round(frame.skippedBefore * Math.min(1, wantedRate / sourceRate)))
      if (!this.#isTaken(sourceRate, wantedRate)) continue
      if (this.#queue.offer(frame) !== undefined) this.#drop(1)
    }
  }

  /** Queue to sink. */
  async #pump(signal: AbortSignal): Promise<void> {
    const { supervisor } = this.#options
    while (!signal.aborted) {
      await supervisor.ready(signal)
      this.#isIdle = true
      const frame = await this.#queue.take(signal)
      this.#isIdle = false
      this.#isBusy = true
      try {
        await this.#openingAhead
        await this.#work(frame)
      } finally {
        this.#isBusy = false
        this.#handOver()
      }
    }
  }

  /** One frame; the worker is free again afterwards. */
  async #work(frame: SourceFrame): Promise<void> {
    const { qualityEveryFrames, clock } = this.#options
    // Before anything was sent there is nothing to keep running, and the default knows no lease.
    do {
      await this.#adopt()
    } while (this.#next !== undefined && this.#recorder.frames === 0)
    const configuration = this.#governor.decide(clock.monotonicMs())
    const measureQuality = this.#recorder.frames % qualityEveryFrames === qualityEveryFrames - 1
    const job = await this.#process(frame, configuration, measureQuality)
    if (job === undefined) return
    await this.#deliver(frame, configuration, job)
    const quality = await job.quality
    if (quality !== undefined) this.#recorder.recordQuality(quality)
  }

  /**
   * Between two frames, open one variant of the next plan beside what runs, or follow it once all are open: the brake
   * then finds every rung of its ladder open, and no frame waits for more than one. A plan whose variants cannot be
   * used is refused and the old one goes on; a worker that dies meanwhile opens them with their first frame.
   */
  async #adopt(): Promise<void> {
    const plan = this.#next
    if (plan === undefined) return
    const wanted = variantsOf(plan)
    const isHere = (): boolean => isSameRuntime(runtimeOf(plan), this.#options.supervisor.setup)
    if (!isHere()) {
      await this.#tryToOpen(plan, wanted, () => this.#changeRuntime(plan, wanted))
    } else {
      this.#runtimeChange.abandon()
      const missing = wanted.find((variant) => !this.#opened.includes(variant))
      if (missing !== undefined) await this.#openBeside(plan, missing)
    }
    // A newer one may have come meanwhile: it is next.
    if (this.#next !== plan || !isHere() || wanted.some((variant) => !this.#opened.includes(variant))) return
    this.#next = undefined
    this.#take(plan)
  }

  /**
   * While no frame waits, variants are opened one after the other: what is open then, no frame waits for. Whoever is to
   * have the frames instead does not wait for more than one.
   */
  async #openAhead(): Promise<void> {
    const isWanted = (): boolean => this.#next !== undefined && this.#isIdle && this.#succession === undefined
    for (let before: readonly string[] | undefined; isWanted(); ) {
      if (before === this.#opened) return
      before = this.#opened
      await this.#adopt()
    }
  }

  #take(plan: Plan): void {
    this.#followed = plan
    this.#governor.follow(plan, this.#options.clock.monotonicMs())
  }

  async #openBeside(plan: Plan, missing: string): Promise<void> {
    // Those that are open and not named stay so where there is room: a device often comes back to them.
    const ahead = this.#options.supervisor.hasRoom
      ? this.#opened
      : this.#opened.filter((variant) => variantsOf(plan).includes(variant))
    const open = [...new Set([...variantsOf(this.#followed), ...ahead, missing])]
    await this.#tryToOpen(plan, open, async () => {
      await this.#options.supervisor.openVariants(open)
      return open
    })
  }

  /** Before the first frame there is nothing that would be kept waiting. */
  #changeRuntime(plan: Plan, wanted: readonly string[]): Promise<readonly string[] | undefined> {
    return this.#runtimeChange.step(runtimeOf(plan), wanted, { isPatient: this.#recorder.frames === 0 })
  }

  /** @param open Gives the variants that the worker has open now; undefined: as before. */
  async #tryToOpen(
    plan: Plan,
    wanted: readonly string[],
    open: () => Promise<readonly string[] | undefined>,
  ): Promise<void> {
    try {
      this.#opened = (await open()) ?? this.#opened
    } catch (error) {
      if (error instanceof TransportError) {
        this.#opened = wanted
        return
      }
      if (!(error instanceof ModelError)) throw error
      if (this.#next !== plan) return
      this.refuse(error.message)
      this.#event('variant-refused', error.message)
    }
  }

  /** @returns Undefined when the frame was lost with its worker or could not be done. */
  async #process(
    frame: SourceFrame,
    configuration: Configuration,
    measureQuality: boolean,
  ): Promise<WorkerJob | undefined> {
    try {
      const keyFrame = this.#keyFrames.isDue(this.#options.clock.monotonicMs())
      const job = await this.#options.supervisor.process(frame.picture, configuration, { keyFrame, measureQuality })
      this.#failure = undefined
      return job
    } catch (error) {
      if (!(error instanceof TransportError || error instanceof ModelError)) throw error
      this.#drop(1)
      if (error instanceof ModelError && this.#failure === undefined) this.#event('frame-failed', error.message)
      if (error instanceof ModelError) this.#failure = error.message
      return undefined
    }
  }

  async #deliver(frame: SourceFrame, configuration: Configuration, { result }: WorkerJob): Promise<void> {
    const { clock, sink } = this.#options
    const atMs = clock.monotonicMs()
    const isSent = await sink.send({ sequence: this.#recorder.frames, capturedWallMs: frame.capturedWallMs, result })
    if (result.kind === 'stream') {
      this.#keyFrames.record({ atMs, frameKind: result.frameKind, isSent })
      if (result.frameKind === 'key') this.#lastKeyStream = result.stream
    }
    const bits = bitsOf(result)
    const latencyMs = clock.monotonicMs() - frame.arrivedMs
    const isMissed = this.#recorder.recordFrame({ configuration, bits, latencyMs, isSent })
    this.#governor.recordSent({ atMs, bits, configuration, latencyMs })
    this.#governor.recordOutcome({ atMs, isMissed })
    this.#options.onFrame?.({ configuration, bits, latencyMs, expected: this.#governor.expectationOf(configuration) })
  }

  #drop(count: number): void {
    this.#recorder.recordDropped(count)
    this.#governor.recordOutcome({ atMs: this.#options.clock.monotonicMs(), isMissed: true })
  }

  #event(kind: string, message: string): void {
    this.#options.onEvent({ kind, slot: this.config.slot, message: message.slice(0, 1000) })
  }
}
