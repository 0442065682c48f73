import { setTimeout as delay } from 'node:timers/promises'
import type { Configuration } from '@espalier/shared/configuration'
import { describeError, TransportError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import type { Family } from '@espalier/shared/manifest/open-family'
import type { FamilyOrder } from '@espalier/shared/messages/controller'
import type { Ack, DeviceEvent, Reported, Update } from '@espalier/shared/messages/device'
import { isSameRuntime } from '../backends/runtime.ts'
import type { Factors, Plan } from '../governor/governor.ts'
import { type DoneFrame, runtimeOf, type Slot, variantsOf } from '../slot/slot.ts'
import type { FamilyStore } from '../store/family-store.ts'
import type { FetchProgress } from '../store/fetch-version.ts'
import type { Candidate, Predecessor, WorkerSupervisor } from '../supervisor/worker-supervisor.ts'
import type { PairedFile } from '../twin/paired-file.ts'
import { isBaseline, judgeTrial, type Verdict } from './judge-trial.ts'
import { safePlan } from './safe-plan.ts'
import { type SecondsRecorder, toComparable } from './seconds-recorder.ts'
import { type StoreExecutorOptions, storeExecutors } from './store-executors.ts'
import type { UpdateEvent } from './transition.ts'
import { isResting, pinnedBy, type UpdateState } from './update-state.ts'
import { type Executors, Updater } from './updater.ts'

/** A version that works for so long did not die of itself. */
const PROVEN_MS = 60_000
/** Deaths of a worker in a row: the supervisor's back-off makes that a few seconds at least. */
const FAILING_DEATHS = 5
/** The first seconds after a hand-over are of key frames and caches. */
const SETTLING_SECONDS = 2
/** Of the old version, before the new one has the frames. */
const BASELINE_SECONDS = 10
const BASELINE_MAX_MS = 60_000
const TRIAL_MAX_SECONDS = 310
const LOOK_EVERY_MS = 500

/** A version of the slot's family that is here. */
export interface Version {
  readonly family: Family
  /** As workers open it. */
  readonly folder: string
}

export interface SlotUpdatesOptions {
  readonly slot: Slot
  readonly supervisor: WorkerSupervisor
  readonly store: FamilyStore
  readonly installed: Version
  /** What the slot was opened with. */
  readonly running: Version
  /** Why that is not the version that was committed last. */
  readonly damage: string | undefined
  readonly file: PairedFile<UpdateState>
  readonly state: UpdateState
  readonly maxStarts: number
  /** What is wanted while a version runs, such as that version can run; undefined: nobody said. */
  readonly planFor: (family: Family) => Plan | undefined
  readonly defaultPlan: (family: Family) => Plan
  /** Why this device cannot run a plan of a version. */
  readonly refusalOf: (plan: Plan, family: Family) => string | undefined
  readonly fetching: Omit<StoreExecutorOptions, 'store' | 'onProgress'>
  readonly monotonicMs: () => number
  readonly onEvent: (event: DeviceEvent) => void
  /** Another version runs, for good: birth is to be said again. */
  readonly onCommitted: () => void
}

interface Trial {
  readonly predecessor: Predecessor
  readonly before: Version
  readonly planBefore: Plan
  /** Of the worker that has the frames. */
  death: string | undefined
}

/** One slot on its way from version to version of its family: what the table of updates asks for is done here. */
export class SlotUpdates {
  readonly #options: SlotUpdatesOptions
  readonly #updater: Updater
  readonly #recorder: SecondsRecorder
  readonly #startedMs: number
  #current: Version
  #isSafe: boolean
  #candidate: { readonly worker: Candidate; readonly version: Version; readonly plan: Plan } | undefined
  #trial: Trial | undefined
  #progress: FetchProgress = { neededBytes: 0, fetchedBytes: 0 }
  /** What a trial waits for. */
  #waiting: string | undefined
  #isProven = false
  #isStopped = false
  #toldFailing = false

  constructor(options: SlotUpdatesOptions, recorder: SecondsRecorder) {
    this.#options = options
    this.#recorder = recorder
    this.#current = options.running
    this.#isSafe = options.state.isSafe
    this.#startedMs = options.monotonicMs()
    this.#updater = new Updater({
      file: options.file,
      state: options.state,
      context: { installed: options.installed.family.manifestDigest, maxStarts: options.maxStarts },
      executors: this.#executors(),
      onUnwritten: ({ message }) => this.#tell({ kind: 'update-unwritten', message }),
    })
  }

  /** Of the version that has the frames now, on trial or not. */
  get family(): Family {
    return this.#current.family
  }

  /** Of the version that is committed: while another is on trial, the one before it. */
  get committed(): Family {
    return (this.#trial?.before ?? this.#current).family
  }

  get state(): UpdateState {
    return this.#updater.state
  }

  get isOnTrial(): boolean {
    return this.#trial !== undefined
  }

  /** Take up what was under way. */
  start(): void {
    this.#updater.dispatch({ kind: 'started' })
    const { damage } = this.#options
    if (damage !== undefined) this.#updater.dispatch({ kind: 'damaged', reason: damage })
    const { slot, planFor, defaultPlan, running } = this.#options
    slot.setPaused(this.state.isPaused)
    const { family } = running
    if (this.#isSafe) this.follow(planFor(family) ?? defaultPlan(family))
  }

  stop(): Promise<void> {
    this.#isStopped = true
    return this.#updater.stop()
  }

  /** What the newest desired state says of the version; undefined: nothing. */
  order(order: FamilyOrder | undefined): void {
    const { running, isSafe } = this.state
    const isHere = order === undefined || (order.manifestDigest === running && !isSafe)
    this.#updater.dispatch(isHere ? { kind: 'withdrawn' } : { kind: 'ordered', order })
  }

  /** Follow a plan of the version that has the frames; in safe mode, its limits alone. */
  follow(plan: Plan): void {
    this.#options.slot.follow(this.#isSafe ? this.#safe(this.#current, plan) : plan)
  }

  get configuration(): Configuration {
    return this.#options.slot.configuration
  }

  factors(): Factors {
    return this.#options.slot.factors()
  }

  /** A plan for the present version was taken up, or limits changed: follow what holds now. */
  refresh(): void {
    const plan = this.#options.planFor(this.#current.family)
    if (plan !== undefined) this.follow(plan)
  }

  /** Once a second. @param joules Of the slot, counting up. */
  tick(joules: number): void {
    const { supervisor, monotonicMs } = this.#options
    this.#recorder.close({ joules, cpuSeconds: supervisor.cpuSeconds.slot })
    if (!this.#isProven && monotonicMs() - this.#startedMs >= PROVEN_MS && supervisor.failures === 0) {
      this.#isProven = true
      this.#updater.dispatch({ kind: 'proven' })
    }
    const isFailing = supervisor.failures >= FAILING_DEATHS
    if (isFailing && !this.#toldFailing && this.#trial === undefined)
      this.#updater.dispatch({
        kind: 'failing',
        reason: `${supervisor.failures} workers died in a row: ${this.#lastDeath ?? 'nobody knows why'}`,
      })
    this.#toldFailing = isFailing
  }

  #lastDeath: string | undefined

  /** A worker of the slot ended that should not have. */
  noteDeath(reason: string): void {
    this.#lastDeath = reason
    if (this.#trial !== undefined) this.#trial.death = reason
  }

  obey(kind: 'roll-back' | 'pause' | 'resume'): Ack {
    const { lastGood } = this.state
    if (kind === 'roll-back' && isResting(this.state) && lastGood === undefined)
      return { result: 'rejected', reason: 'there is no version before the present one' }
    this.#updater.dispatch({ kind })
    if (kind !== 'roll-back') this.#options.slot.setPaused(kind === 'pause')
    return { result: kind === 'roll-back' ? 'accepted' : 'done' }
  }

  /** What is said of the slot's versions. */
  reported(): Pick<Reported['slots'][number], 'manifestDigest' | 'update' | 'isPaused'> {
    const update = this.#update()
    return {
      manifestDigest: this.#current.family.manifestDigest,
      ...(update === undefined ? {} : { update }),
      ...(this.state.isPaused ? { isPaused: true } : {}),
    }
  }

  #update(): Update | undefined {
    const { phase, target, attempt, isSafe, running, reason, evidence } = this.state
    const state = isResting(this.state) && isSafe ? 'safe' : phase
    const digest = target?.manifestDigest ?? (state === 'safe' ? running : undefined)
    if (state === 'idle' || digest === undefined) return undefined
    const why = isResting(this.state) ? reason : (this.#waiting ?? this.#progress.reason)
    return {
      state,
      manifestDigest: digest,
      attempt: Math.max(1, attempt),
      neededBytes: this.#progress.neededBytes,
      fetchedBytes: this.#progress.fetchedBytes,
      ...(why === undefined ? {} : { reason: why.slice(0, 500) }),
      ...(evidence === undefined ? {} : { evidence }),
    }
  }

  #executors(): Executors {
    const { store, fetching } = this.#options
    return {
      ...storeExecutors({
        ...fetching,
        store,
        onProgress: (progress) => {
          this.#progress = progress
        },
      }),
      warm: ({ digest }, signal) => this.#warm(digest, signal),
      try: ({ digest }, signal) => this.#try(digest, signal),
      adopt: () => this.#adopt(),
      giveBack: () => this.#giveBack(),
      discard: () => this.#discard(),
      activate: ({ digest, isSafe }) => this.#activate(digest, isSafe),
      tell: ({ event }) => this.#tell(event),
    }
  }

  #tell(event: DeviceEvent): void {
    const { slot, onEvent } = this.#options
    onEvent({ ...event, slot: slot.config.slot, message: event.message.slice(0, 1000) })
  }

  async #version(digest: Digest): Promise<Version> {
    const { store, installed } = this.#options
    if (digest === installed.family.manifestDigest) return installed
    return { family: await store.open(digest), folder: await store.folderOf(digest) }
  }

  #safe({ family }: Version, { leaseBps, leasePowerW }: Plan): Plan {
    return safePlan(family.manifest, this.#options.defaultPlan(family), { leaseBps, leasePowerW })
  }

  #planOf({ family }: Version): Plan {
    const { planFor, defaultPlan } = this.#options
    return planFor(family) ?? defaultPlan(family)
  }

  /** Why a version cannot take this slot's place, whatever it measures. */
  #findMisfit({ family }: Version, plan: Plan): string | undefined {
    const { manifest } = family
    const own = this.#options.installed.family.manifest
    if (manifest.family !== own.family) return `found family "${manifest.family}", this slot runs "${own.family}"`
    if (manifest.task !== own.task) return `found task ${manifest.task}, this slot's is ${own.task}`
    return this.#options.refusalOf(plan, family)
  }

  async #warm(digest: Digest, signal: AbortSignal): Promise<UpdateEvent> {
    const { store, supervisor } = this.#options
    this.#waiting = undefined
    let worker: Candidate
    let plan: Plan
    let version: Version
    try {
      version = await this.#version(digest)
      plan = this.#planOf(version)
      const misfit = this.#findMisfit(version, plan)
      if (misfit !== undefined) return { kind: 'unfit', reason: misfit }
      worker = await supervisor.prepare(variantsOf(plan), { familyDir: version.folder, ...runtimeOf(plan) })
    } catch (error) {
      // A worker says only that it could not: whether its files are to blame shows here.
      const corrupt = await store.verify(digest).then(() => undefined, describeError)
      if (corrupt !== undefined) return { kind: 'corrupt', reason: corrupt }
      return { kind: 'unfit', reason: describeError(error), evidence: { stage: 'golden outputs' } }
    }
    if (signal.aborted) await worker.discard()
    else this.#candidate = { worker, version, plan }
    return { kind: 'warmed' }
  }

  async #try(digest: Digest, signal: AbortSignal): Promise<UpdateEvent> {
    const { slot } = this.#options
    await this.#awaitBaseline(signal)
    const candidate = this.#candidate
    if (candidate?.version.family.manifestDigest !== digest)
      return { kind: 'regressed', reason: 'The worker that was warmed is gone', evidence: {} }
    const before = this.#recorder.seconds
    const { version, worker } = candidate
    // Plans may have come while it was warmed; one for another backend waits until this worker has the frames.
    const newest = this.#planOf(version)
    const plan = isSameRuntime(runtimeOf(newest), runtimeOf(candidate.plan)) ? newest : candidate.plan
    await worker.openVariants(variantsOf(plan))
    await slot.succeed({
      handOver: () => {
        const [old, planBefore] = [this.#current, slot.followed]
        this.#trial = { predecessor: worker.takeOver(), before: old, planBefore, death: undefined }
        this.#candidate = undefined
        this.#current = version
        this.#isSafe = false
        this.#recorder.restart(TRIAL_MAX_SECONDS)
      },
      manifest: version.family.manifest,
      plan,
    })
    return this.#judge(before, variantsOf(plan), signal)
  }

  /** Frames of the version before, for comparison; without any there is nothing to judge by. */
  async #awaitBaseline(signal: AbortSignal): Promise<void> {
    const { monotonicMs, slot } = this.#options
    const beganMs = monotonicMs()
    // While the new worker was warmed, the old one had to share the machine with it.
    this.#recorder.restart()
    for (;;) {
      const { length } = this.#recorder.seconds
      const isLate = monotonicMs() - beganMs >= BASELINE_MAX_MS
      if (length >= BASELINE_SECONDS || (isLate && length > 0)) break
      this.#waiting = slot.isPaused ? 'waits: the slot is paused' : 'measures what runs, to compare with'
      await delay(LOOK_EVERY_MS, undefined, { signal })
    }
    this.#waiting = undefined
  }

  async #judge(
    before: SecondsRecorder['seconds'],
    variants: readonly string[],
    signal: AbortSignal,
  ): Promise<UpdateEvent> {
    const golden = { goldenVariants: variants }
    for (;;) {
      await delay(LOOK_EVERY_MS, undefined, { signal })
      const death = this.#trial?.death
      if (death !== undefined)
        return { kind: 'regressed', reason: `Its worker died: ${death}`, evidence: { ...golden, death } }
      const { phase, reason } = this.#options.slot.reported()
      if (phase === 'failed')
        return { kind: 'regressed', reason: `Its frames fail: ${reason}`, evidence: { ...golden, phase } }
      const now = this.#recorder.seconds.slice(SETTLING_SECONDS)
      const { decision, reason: worse, metrics } = this.#verdict(before, now)
      this.#waiting = decision === 'open' ? `on trial for ${now.length} seconds with frames` : undefined
      const evidence = { ...golden, ...metrics }
      if (decision === 'passed') return { kind: 'passed', evidence }
      if (decision === 'regressed') return { kind: 'regressed', reason: worse ?? 'It is worse', evidence }
    }
  }

  #verdict(before: SecondsRecorder['seconds'], now: SecondsRecorder['seconds']): Verdict {
    if (now.length === 0) return { decision: 'open', metrics: {} }
    const comparable = toComparable(before, now)
    // With next to nothing to compare with, working for as long is all that can be asked.
    if (!isBaseline(comparable.before))
      return { decision: now.length >= BASELINE_SECONDS ? 'passed' : 'open', metrics: {} }
    return judgeTrial(comparable.before, comparable.now)
  }

  #adopt(): void {
    const trial = this.#trial
    this.#trial = undefined
    this.#recorder.restart()
    void trial?.predecessor.release()
    void this.#touch()
    this.refresh()
    this.#options.onCommitted()
  }

  async #giveBack(): Promise<void> {
    const trial = this.#trial
    if (trial === undefined) return this.#discard()
    this.#trial = undefined
    const { before, planBefore, predecessor } = trial
    const isSafe = this.state.isSafe
    try {
      await this.#options.slot.succeed({
        handOver: () => {
          predecessor.giveBack()
          this.#settle(before, isSafe)
        },
        manifest: before.family.manifest,
        plan: planBefore,
      })
      this.refresh()
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      // It died while it waited: a fresh one does as well.
      await predecessor.release()
      await this.#activate(before.family.manifestDigest, isSafe).catch((reason: unknown) =>
        this.#updater.dispatch({ kind: 'failing', reason: describeError(reason) }),
      )
    }
  }

  async #discard(): Promise<void> {
    const candidate = this.#candidate
    this.#candidate = undefined
    await candidate?.worker.discard()
  }

  async #activate(digest: Digest, isSafe: boolean): Promise<void> {
    const { slot, supervisor, store, installed } = this.#options
    if (this.#current.family.manifestDigest === digest && this.#isSafe === isSafe && supervisor.failures === 0) return
    if (digest !== installed.family.manifestDigest) await store.verify(digest)
    const version = await this.#version(digest)
    const wanted = this.#planOf(version)
    if (this.#isStopped) throw new TransportError('Cannot begin a worker: the slot was stopped', { retryable: false })
    const plan = isSafe ? this.#safe(version, wanted) : wanted
    const candidate = await supervisor.prepare(variantsOf(plan), { familyDir: version.folder, ...runtimeOf(plan) })
    try {
      await slot.succeed({
        handOver: () => {
          void candidate.takeOver().release()
          this.#settle(version, isSafe)
        },
        manifest: version.family.manifest,
        plan,
      })
    } catch (error) {
      await candidate.discard()
      throw error
    }
    void this.#touch()
    this.#options.onCommitted()
  }

  #settle(version: Version, isSafe: boolean): void {
    this.#current = version
    this.#isSafe = isSafe
    this.#recorder.restart()
  }

  async #touch(): Promise<void> {
    const digest = this.#current.family.manifestDigest
    if (digest === this.#options.installed.family.manifestDigest) return
    // It says only what may go first when room is needed.
    await this.#options.store.touch(digest).catch(() => undefined)
  }

  /** Versions that must stay on disk. */
  pinned(): readonly Digest[] {
    return pinnedBy(this.state)
  }

  note(frame: DoneFrame): void {
    this.#recorder.note(frame)
  }
}
