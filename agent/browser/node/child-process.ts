import type { WorkerReply, WorkerRequest } from '../../worker/messages.ts'

/** What a worker says besides its answers, before it ends itself. */
export interface WorkerExit {
  readonly kind: 'exit'
  readonly code: number
  readonly complaint: string
}

type Listeners = {
  message: (reply: WorkerReply) => void
  error: (error: Error) => void
  close: (code: number | null, signal: string | null) => void
}

let nextPid = 1

/** A slot's worker process in a browser is a Web Worker: it too can be ended at any moment, with all that it holds. */
class WorkerChild {
  readonly pid = nextPid++
  /** What a process complains of comes with its end here. */
  readonly stderr = undefined
  readonly #worker = new Worker(new URL('../worker.ts', import.meta.url), { type: 'module', name: 'espalier-slot' })
  readonly #listeners: { [Name in keyof Listeners]: Listeners[Name][] } = { message: [], error: [], close: [] }
  #hasEnded = false

  constructor() {
    this.#worker.addEventListener('message', ({ data }: MessageEvent<WorkerReply | WorkerExit>) => {
      if (data.kind !== 'exit') {
        for (const tell of this.#listeners.message) tell(data)
        return
      }
      this.#fail(data.complaint || `worker ended with code ${data.code}`)
    })
    this.#worker.addEventListener('error', (event) => this.#fail(event.message || 'the worker could not be loaded'))
  }

  on<Name extends keyof Listeners>(name: Name, listener: Listeners[Name]): this {
    this.#listeners[name].push(listener)
    return this
  }

  once<Name extends keyof Listeners>(name: Name, listener: Listeners[Name]): this {
    return this.on(name, listener)
  }

  send(message: WorkerRequest, done?: () => void): void {
    if (!this.#hasEnded) this.#worker.postMessage(message)
    done?.()
  }

  kill(signal = 'SIGKILL'): void {
    this.#end(null, signal)
  }

  #fail(reason: string): void {
    if (this.#hasEnded) return
    for (const tell of this.#listeners.error) tell(new Error(reason))
    this.#end(1, null)
  }

  #end(code: number | null, signal: string | null): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#worker.terminate()
    // As with a process, nobody hears of the end within the call that caused it.
    queueMicrotask(() => {
      for (const tell of this.#listeners.close) tell(code, signal)
    })
  }
}

/** Of `node:child_process`. There is one program that workers run; its path means nothing here. */
export const fork = (_path: string, _options?: object): WorkerChild => new WorkerChild()

/** A page starts no programs. */
export function execFile(_file: string, ...rest: readonly unknown[]): void {
  const done = rest.at(-1) as (error: Error) => void
  done(Object.assign(new Error('ENOENT: a page starts no programs'), { code: 'ENOENT' }))
}
