import type { WorkerReply, WorkerRequest } from '../../worker/messages.ts'
import type { WorkerExit } from './child-process.ts'

/** What `agent/worker/process.ts` uses of `process`, for a Web Worker. */

let busySinceMs: number | undefined
let busyMs = 0
let threads = 1
let isQualityWanted = false
let complaint = ''

const spentMs = (): number => busyMs + (busySinceMs === undefined ? 0 : performance.now() - busySinceMs)

function begin(request: WorkerRequest): void {
  if (request.kind === 'start') threads = request.threads
  isQualityWanted = request.kind === 'process' && request.measureQuality
  busySinceMs ??= performance.now()
}

function end(reply: WorkerReply): void {
  if (reply.kind === 'processed' && isQualityWanted) return
  busyMs = spentMs()
  busySinceMs = undefined
}

const workerProcess = {
  on(event: 'message' | 'disconnect' | 'SIGINT', listener: (request: WorkerRequest) => void): void {
    // Nothing interrupts a worker, and it ends with its page.
    if (event !== 'message') return
    addEventListener('message', ({ data }: MessageEvent<WorkerRequest>) => {
      begin(data)
      listener(data)
    })
  },
  send(reply: WorkerReply): void {
    postMessage(reply)
    end(reply)
  },
  /**
   * A page is not told its CPU time. A worker that has a request computes on all its threads or waits for the GPU: the time
   * with one, for each thread, is the most that it can have used.
   */
  cpuUsage: () => ({ user: spentMs() * 1000 * threads, system: 0 }),
  memoryUsage: {
    /** The heap of scripts, where the browser tells; WebAssembly's memory is not in it. */
    rss: (): number => (performance as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? 0,
  },
  exit(code: number): void {
    postMessage({ kind: 'exit', code, complaint } satisfies WorkerExit)
    close()
  },
}

const { error: report } = console
console.error = (...words: unknown[]) => {
  complaint = words.join(' ')
  report(...words)
}

Object.assign(globalThis, { process: workerProcess })
