import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import type { Configuration } from '@espalier/shared/configuration'
import { ModelError, TransportError } from '@espalier/shared/errors'
import { BackOff } from '../back-off.ts'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame, WorkerCpu, WorkerReply, WorkerRequest } from '../worker/messages.ts'

/** Loading a runtime on a loaded single-core board takes tens of seconds; a hang takes for ever. */
const START_DEADLINE_MS = 120_000
const FIRST_BACK_OFF_MS = 200
const MAX_BACK_OFF_MS = 10_000

/**
 * Child processes run built JavaScript, also when this file itself is read from TypeScript by the tests.
 *
 * @see agent/worker/process.ts
 */
export const WORKER_PATH = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../dist/worker/process.js' : '../worker/process.js', import.meta.url),
)

export interface WorkerOptions {
  readonly workerPath: string
  readonly familyDir: string
  readonly threads: number
  /** A worker that does not answer a frame for this long is killed. */
  readonly frameDeadlineMs: number
  /** Called whenever a worker ended that should not have. */
  readonly onDeath: (reason: string) => void
}

export interface WorkerJob extends ProcessedFrame {
  /** When the worker has measured it and is free again; undefined if not asked for or not measurable. */
  readonly quality: Promise<QualitySample | undefined>
}

type Answer = Extract<WorkerReply, { id: number }>

interface PendingRequest {
  readonly id: number
  readonly onReply: (reply: Answer) => void
  readonly onDeath: (error: TransportError) => void
}

/** `Omit` for each kind of a union. */
type DistributedOmit<Union, Key extends PropertyKey> = Union extends unknown ? Omit<Union, Key> : never

interface Running {
  readonly child: ChildProcess
  readonly macsPerSecond: number
}

/**
 * Keeps one worker process alive: starts it, kills it when it hangs, starts it again when it dies.
 *
 * There is no heartbeat beside the work: inference blocks the worker's thread, so only an answer to a request shows
 * life, and a worker without a request has nothing to hang on. Every request therefore has a deadline.
 */
export class WorkerSupervisor {
  readonly #options: WorkerOptions
  readonly #stopping = new AbortController()
  readonly #backOff = new BackOff(FIRST_BACK_OFF_MS, MAX_BACK_OFF_MS)
  readonly #waiting: Array<() => void> = []
  #child: ChildProcess | undefined
  #running: Running | undefined
  #pending: PendingRequest | undefined
  #nextId = 1
  #macsPerSecond: number | undefined
  #restarts = 0
  #failures = 0
  #cpuOfDead: WorkerCpu = { slotUs: 0, agentUs: 0 }
  #cpu: WorkerCpu = { slotUs: 0, agentUs: 0 }
  #stopped: Promise<void> = Promise.resolve()

  constructor(options: WorkerOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#running?.child.pid
  }

  get restarts(): number {
    return this.#restarts
  }

  /** Deaths since a worker last did what it was asked. */
  get failures(): number {
    return this.#failures
  }

  /** CPU seconds of all workers so far. */
  get cpuSeconds(): { readonly slot: number; readonly agent: number } {
    return {
      slot: (this.#cpuOfDead.slotUs + this.#cpu.slotUs) / 1e6,
      agent: (this.#cpuOfDead.agentUs + this.#cpu.agentUs) / 1e6,
    }
  }

  start(): void {
    this.#stopped = this.#keepAlive()
  }

  /**
   * Wait for a worker that can be asked.
   *
   * @throws `signal.reason` when aborted.
   */
  async ready(signal: AbortSignal): Promise<{ readonly macsPerSecond: number }> {
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
    return this.#running
  }

  /**
   * Take one frame through the worker; wait for `quality` before the next request.
   *
   * @throws {TransportError} If the worker dies or hangs before the result is there; the next worker can be asked.
   * @throws {ModelError} If the worker lives but cannot do this frame.
   */
  process(
    picture: Picture,
    configuration: Configuration,
    { keyFrame, measureQuality }: { keyFrame: boolean; measureQuality: boolean },
  ): Promise<WorkerJob> {
    const asked = { kind: 'process' as const, picture, configuration, keyFrame, measureQuality }
    return new Promise((resolve, reject) => {
      let finishQuality: (quality: QualitySample | undefined) => void = () => undefined
      const quality = new Promise<QualitySample | undefined>((finish) => {
        finishQuality = finish
      })
      this.#ask('process frame', asked, {
        isLast: ({ kind }) => kind !== 'processed' || !measureQuality,
        onReply: (reply) => {
          if (reply.kind === 'processed') resolve({ result: reply.result, timings: reply.timings, quality })
          if (reply.kind !== 'processed' || !measureQuality)
            finishQuality(reply.kind === 'quality' ? reply.quality : undefined)
        },
        onError: (error) => {
          finishQuality(undefined)
          reject(error)
        },
      })
    })
  }

  /**
   * Have the worker open variants beside what runs, so that the next frame can have any of them at once.
   *
   * @throws {TransportError} If the worker dies or hangs meanwhile; the next one opens them with their first frame.
   * @throws {ModelError} If one cannot be used; what ran before still runs.
   */
  prepare(variants: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#ask(
        'open variants',
        { kind: 'prepare', variants },
        { isLast: () => true, onReply: () => resolve(), onError: reject },
      )
    })
  }

  /** Send a request and hold its deadline; each reply but the last begins it again. */
  #ask(
    action: string,
    asked: DistributedOmit<Exclude<WorkerRequest, { kind: 'start' }>, 'id'>,
    {
      isLast,
      onReply,
      onError,
    }: {
      isLast: (reply: Answer) => boolean
      onReply: (reply: Answer) => void
      onError: (error: TransportError | ModelError) => void
    },
  ): void {
    const running = this.#running
    if (running === undefined || this.#pending !== undefined) {
      onError(new TransportError(`Cannot ${action}: no worker is free`, { retryable: true }))
      return
    }
    const id = this.#nextId++
    const deadline = setTimeout(() => running.child.kill('SIGKILL'), this.#options.frameDeadlineMs)
    const finish = (): void => {
      clearTimeout(deadline)
      this.#pending = undefined
    }
    this.#pending = {
      id,
      onReply: (reply) => {
        if (reply.kind === 'failed') {
          finish()
          onError(new ModelError(`Cannot ${action}: ${reply.reason}`))
          return
        }
        this.#failures = 0
        this.#backOff.reset()
        if (isLast(reply)) finish()
        else deadline.refresh()
        onReply(reply)
      },
      onDeath: (error) => {
        finish()
        onError(error)
      },
    }
    // A failing send means a dying child: its exit rejects the request.
    running.child.send({ ...asked, id }, () => undefined)
  }

  /** End the worker at once; another one starts. */
  restart(): void {
    this.#child?.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#child?.kill('SIGKILL')
    await this.#stopped
  }

  async #keepAlive(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const reason = await this.#runOne()
      if (signal.aborted) return
      this.#restarts++
      this.#failures++
      this.#options.onDeath(reason)
      await delay(this.#backOff.next(), undefined, { signal }).catch(() => undefined)
    }
  }

  /** @returns Why the worker ended. */
  async #runOne(): Promise<string> {
    const { workerPath, familyDir, threads } = this.#options
    const child = fork(workerPath, {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-500)
    })
    const deadline = setTimeout(() => child.kill('SIGKILL'), START_DEADLINE_MS)
    child.on('message', (reply: WorkerReply) => {
      this.#cpu = reply.cpu
      if (reply.kind === 'ready') {
        clearTimeout(deadline)
        this.#macsPerSecond = reply.macsPerSecond
        this.#running = { child, macsPerSecond: reply.macsPerSecond }
        for (const wake of this.#waiting.splice(0)) wake()
      } else if (reply.id === this.#pending?.id) {
        this.#pending.onReply(reply)
      }
    })
    const known = this.#macsPerSecond === undefined ? {} : { macsPerSecond: this.#macsPerSecond }
    const start: WorkerRequest = { kind: 'start', familyDir, threads, ...known }
    child.send(start, () => undefined)
    const reason = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      // `close` follows `exit` once standard error is read to its end, so the complaint is whole.
      child.once('close', (code, signal) =>
        resolve([`worker ended with ${signal ?? `code ${code}`}`, complaint.trim()].filter(Boolean).join(': ')),
      )
    })
    clearTimeout(deadline)
    this.#child = undefined
    this.#running = undefined
    this.#cpuOfDead = {
      slotUs: this.#cpuOfDead.slotUs + this.#cpu.slotUs,
      agentUs: this.#cpuOfDead.agentUs + this.#cpu.agentUs,
    }
    this.#cpu = { slotUs: 0, agentUs: 0 }
    this.#pending?.onDeath(new TransportError(`Cannot use worker: ${reason}`, { retryable: true }))
    return reason
  }
}
