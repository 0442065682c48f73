import { setTimeout as delay } from 'node:timers/promises'
import { describeError, StoreError } from '@espalier/shared/errors'
import { BackOff } from '../back-off.ts'
import { type Step, type TransitionContext, transition, type UpdateEvent } from './transition.ts'
import type { UpdateState } from './update-state.ts'

type LongKind = 'fetch' | 'verify' | 'warm' | 'try'
type StepOf<Kind extends Step['kind']> = Extract<Step, { kind: Kind }>

/**
 * How steps are taken. The long ones end in the event that says how they ended; when they are aborted, nobody listens
 * any more. The short ones must not fail, but for `activate`.
 */
export type Executors = {
  readonly [Kind in LongKind]: (step: StepOf<Kind>, signal: AbortSignal) => Promise<UpdateEvent>
} & {
  readonly [Kind in Exclude<Step['kind'], LongKind>]: (step: StepOf<Kind>) => Promise<void> | void
}

export interface UpdaterOptions {
  readonly file: { save(state: UpdateState): void }
  /** As loaded, or fresh. */
  readonly state: UpdateState
  readonly context: TransitionContext
  readonly executors: Executors
  /** The state cannot be written down; what would move forward waits for that. */
  readonly onUnwritten: (error: StoreError) => void
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

/** Steps forward must outlive a power loss before they count; steps back to what is known good need no permission. */
const FORWARD: ReadonlySet<UpdateEvent['kind']> = new Set(['ordered', 'fetched', 'verified', 'warmed', 'passed'])
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 60_000

interface Work {
  readonly aborting: AbortController
  readonly ended: Promise<void>
}

interface Queued {
  readonly event: UpdateEvent
  /** Of the work that ended so; absent: it comes from outside. */
  readonly signal?: AbortSignal
}

const isLong = (step: Step): step is StepOf<LongKind> =>
  step.kind === 'fetch' || step.kind === 'verify' || step.kind === 'warm' || step.kind === 'try'

const sleepFor = async (ms: number, signal: AbortSignal): Promise<void> => {
  await delay(ms, undefined, { signal })
}

/**
 * Runs the table of transitions for one slot: one event at a time, the state on disk before its steps are taken, at most
 * one long step at a time, and that one aborted and over before the next step begins.
 */
export class Updater {
  readonly #options: UpdaterOptions
  readonly #queue: Queued[] = []
  readonly #stopping = new AbortController()
  readonly #saving = new BackOff(FIRST_RETRY_MS, MAX_RETRY_MS)
  readonly #activating = new BackOff(FIRST_RETRY_MS, MAX_RETRY_MS)
  #state: UpdateState
  #saved: string
  #work: Work | undefined
  #draining: Promise<void> | undefined
  #isDraining = false

  constructor(options: UpdaterOptions) {
    this.#options = options
    this.#state = options.state
    this.#saved = ''
  }

  get state(): UpdateState {
    return this.#state
  }

  dispatch(event: UpdateEvent): void {
    this.#enqueue({ event })
  }

  /** Resolves when every event so far was dealt with; long steps may still be at work. */
  async settled(): Promise<void> {
    while (this.#isDraining) await this.#draining
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#stopWork()
    await this.settled()
  }

  #enqueue(queued: Queued): void {
    if (this.#stopping.signal.aborted) return
    this.#queue.push(queued)
    if (!this.#isDraining) this.#draining = this.#drain()
  }

  async #drain(): Promise<void> {
    this.#isDraining = true
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        if (this.#stopping.signal.aborted) return
        // What an aborted step came to is of no interest, however late it says so.
        if (next.signal?.aborted === true) continue
        await this.#take(next.event).catch((error: unknown) => {
          if (!this.#stopping.signal.aborted) throw error
        })
      }
    } finally {
      // In the same turn in which the queue was found empty: what comes from now on begins anew.
      this.#isDraining = false
    }
  }

  async #take(event: UpdateEvent): Promise<void> {
    const { state, steps } = transition(this.#state, event, this.#options.context)
    if (steps.length > 0) await this.#stopWork()
    await this.#save(state, FORWARD.has(event.kind))
    this.#state = state
    for (const step of steps) {
      if (this.#stopping.signal.aborted) return
      if (isLong(step)) this.#begin(step)
      else await this.#do(step)
    }
  }

  async #save(state: UpdateState, isForward: boolean): Promise<void> {
    const text = JSON.stringify(state)
    while (text !== this.#saved) {
      try {
        this.#options.file.save(state)
        this.#saved = text
        this.#saving.reset()
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        this.#options.onUnwritten(error)
        if (!isForward) return
        await this.#sleep(this.#saving.next())
      }
    }
  }

  #sleep(ms: number): Promise<void> {
    return (this.#options.sleep ?? sleepFor)(ms, this.#stopping.signal)
  }

  #begin(step: StepOf<LongKind>): void {
    const aborting = new AbortController()
    const { signal } = aborting
    const execute = this.#options.executors[step.kind] as (step: Step, signal: AbortSignal) => Promise<UpdateEvent>
    const ended = execute(step, signal).then(
      (event) => this.#enqueue({ event, signal }),
      (error: unknown) => {
        // Executors turn what they expect into events: this is a step that failed in a way nobody thought of.
        if (!signal.aborted) this.#enqueue({ event: failureOf(step, describeError(error)), signal })
      },
    )
    this.#work = { aborting, ended }
  }

  async #stopWork(): Promise<void> {
    const work = this.#work
    this.#work = undefined
    work?.aborting.abort()
    await work?.ended
  }

  async #do(step: Exclude<Step, { kind: LongKind }>): Promise<void> {
    const execute = this.#options.executors[step.kind] as (step: Step) => Promise<void> | void
    try {
      await execute(step)
      if (step.kind === 'activate') this.#activating.reset()
    } catch (error) {
      if (step.kind !== 'activate') throw error
      await this.#sleep(this.#activating.next())
      this.#enqueue({ event: { kind: 'failing', reason: `Cannot go back: ${describeError(error)}` } })
    }
  }
}

function failureOf({ kind }: StepOf<LongKind>, reason: string): UpdateEvent {
  switch (kind) {
    case 'fetch':
      return { kind: 'unfetchable', reason }
    case 'verify':
      return { kind: 'corrupt', reason }
    case 'warm':
      return { kind: 'unfit', reason }
    case 'try':
      return { kind: 'regressed', reason, evidence: {} }
  }
}
