import { type ChildProcess, fork } from 'node:child_process'
import { ModelError, TransportError } from '@espalier/shared/errors'
import type { Backend } from '@espalier/shared/runtime/session'
import type { RuntimeSpeed, WorkerReply, WorkerRequest, WorkerUsage } from '../worker/messages.ts'

/** Loading a runtime on a loaded single-core board takes tens of seconds; a hang takes for ever. */
const START_DEADLINE_MS = 120_000

export interface WorkerProcessOptions {
  readonly workerPath: string
  readonly familyDir: string
  readonly backend: Backend
  readonly threads: number
  /** A worker that does not answer a request for this long is killed. */
  readonly frameDeadlineMs: number
  /** Measured by an earlier worker: this one need not measure again. */
  readonly speed?: RuntimeSpeed | undefined
  /** To be ready to be asked; two minutes unless told otherwise. */
  readonly startDeadlineMs?: number
}

export type Answer = Extract<WorkerReply, { id: number }>

/** `Omit` for each kind of a union. */
type DistributedOmit<Union, Key extends PropertyKey> = Union extends unknown ? Omit<Union, Key> : never
export type WorkerQuestion = DistributedOmit<Exclude<WorkerRequest, { kind: 'start' }>, 'id'>

export interface AnswerHandlers {
  readonly isLast: (reply: Answer) => boolean
  readonly onReply: (reply: Answer) => void
  readonly onError: (error: TransportError | ModelError) => void
}

/**
 * One worker process from fork to end. It begins at once.
 *
 * There is no heartbeat beside the work: inference blocks the worker's thread, so only an answer to a request shows
 * life, and a worker without a request has nothing to hang on. Every request therefore has a deadline.
 */
export class WorkerProcess {
  /** Resolves once it can be asked. @throws {TransportError} If it ends before. */
  readonly ready: Promise<RuntimeSpeed>
  /** Why it ended, once it did. */
  readonly ended: Promise<string>
  readonly #child: ChildProcess
  readonly #frameDeadlineMs: number
  readonly #bornMs = performance.now()
  #usage: WorkerUsage = { slotUs: 0, agentUs: 0, rssBytes: 0 }
  #pending: { readonly id: number; onReply(reply: Answer): void; onEnd(error: TransportError): void } | undefined
  #nextId = 1
  #hasEnded = false
  /** Why this side ended it, where it did. */
  #verdict: string | undefined

  constructor(options: WorkerProcessOptions) {
    const { workerPath, familyDir, backend, threads, speed } = options
    this.#frameDeadlineMs = options.frameDeadlineMs
    const child = fork(workerPath, {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    this.ended = this.#watch(child)
    this.ready = this.#awaitReady(child, options.startDeadlineMs ?? START_DEADLINE_MS)
    // Who cares asks; a worker that is given up while it starts is nobody's failure.
    this.ready.catch(() => undefined)
    const known = speed === undefined ? {} : { speed }
    child.send({ kind: 'start', familyDir, backend, threads, ...known } satisfies WorkerRequest, () => undefined)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get usage(): WorkerUsage {
    return this.#usage
  }

  get ageMs(): number {
    return performance.now() - this.#bornMs
  }

  /** Alive, and nothing asked of it. */
  get isFree(): boolean {
    return !this.#hasEnded && this.#pending === undefined
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Send a request and hold its deadline; each reply but the last begins it again. One at a time. */
  ask(action: string, question: WorkerQuestion, { isLast, onReply, onError }: AnswerHandlers): void {
    if (!this.isFree) {
      onError(new TransportError(`Cannot ${action}: the worker is not free`, { retryable: true }))
      return
    }
    const id = this.#nextId++
    const deadline = this.#startDeadline(this.#frameDeadlineMs)
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
        if (isLast(reply)) finish()
        else deadline.refresh()
        onReply(reply)
      },
      onEnd: (error) => {
        finish()
        onError(error)
      },
    }
    // A failing send means a dying child: its end rejects the request.
    this.#child.send({ ...question, id }, () => undefined)
  }

  /** Open variants beside what runs. @throws {TransportError} {ModelError} As `WorkerSupervisor.openVariants`. */
  openVariants(variants: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.ask(
        'open variants',
        { kind: 'prepare', variants },
        { isLast: () => true, onReply: () => resolve(), onError: reject },
      )
    })
  }

  #startDeadline(limitMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#verdict = `no answer for ${limitMs / 1000} s`
      this.kill()
    }, limitMs)
  }

  async #watch(child: ChildProcess): Promise<string> {
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-500)
    })
    const reason = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      // `close` follows `exit` once standard error is read to its end, so the complaint is whole.
      child.once('close', (code, signal) =>
        resolve(
          [`worker ended with ${signal ?? `code ${code}`}`, this.#verdict, complaint.trim()].filter(Boolean).join(': '),
        ),
      )
    })
    this.#hasEnded = true
    this.#pending?.onEnd(new TransportError(`Cannot use worker: ${reason}`, { retryable: true }))
    return reason
  }

  #awaitReady(child: ChildProcess, deadlineMs: number): Promise<RuntimeSpeed> {
    const deadline = this.#startDeadline(deadlineMs)
    return new Promise((resolve, reject) => {
      child.on('message', (reply: WorkerReply) => {
        this.#usage = reply.usage
        if (reply.kind === 'ready') {
          clearTimeout(deadline)
          resolve(reply.speed)
        } else if (reply.id === this.#pending?.id) {
          this.#pending.onReply(reply)
        }
      })
      void this.ended.then((reason) => {
        clearTimeout(deadline)
        reject(new TransportError(`Cannot start worker: ${reason}`, { retryable: true }))
      })
    })
  }
}
