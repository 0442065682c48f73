import { fileURLToPath } from 'node:url'
import { SHARE_ENV, Worker } from 'node:worker_threads'
import type { Clock } from '@espalier/shared/clock'
import { systemMonotonicMs } from '../time/system-monotonic.ts'
import { ReadingRing } from './reading-ring.ts'

const PATH = fileURLToPath(
  new URL(`${import.meta.url.endsWith('.ts') ? '../dist' : '..'}/control/reading-thread-process.cjs`, import.meta.url),
)
/** It holds a few objects; what it makes beside them is gone a moment later. */
const LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 8, codeRangeSizeMb: 1, stackSizeMb: 1 }

/** What such a thread is started with. */
export interface ReadingOrder {
  readonly memory: SharedArrayBuffer
  /** Prefix of system paths. */
  readonly root: string
  /** Name of the sensor. */
  readonly source: string
  readonly periodMs: number
  readonly maxCpuShare: number
  /** The system's monotonic milliseconds when the clock of whoever asks said 0. */
  readonly originMs: number
}

/** Reads a sensor beside the program. */
export interface ReadingThread {
  readonly periodMs: number
  readonly costShare: number
  /** Why the newest reading that failed did. */
  readonly failure: string
  /** What came since the last time. @param use Watts are NaN where a reading failed. */
  drain(use: (atMs: number, watts: number) => void): void
  /** Until aborted, or the thread ends of itself. */
  run(signal: AbortSignal): Promise<void>
}

/** A sensor and how often to read it. */
export type ReadingTask = Pick<ReadingOrder, 'root' | 'source' | 'periodMs' | 'maxCpuShare'> & {
  readonly clock: Pick<Clock, 'monotonicMs'>
}

/**
 * Read a sensor of system files in a thread of its own, which does nothing else and sleeps in the kernel between: at 100 Hz
 * that takes about half of what timers in the event loop take, for 4 MB more in RAM (npm run -s bench -- agent).
 */
export function openReadingThread({ clock, ...task }: ReadingTask): ReadingThread {
  const ring = new ReadingRing()
  let failure = `Cannot read sensor "${task.source}"`
  return {
    get periodMs() {
      return ring.periodMs || task.periodMs
    },
    get costShare() {
      return ring.costShare
    },
    get failure() {
      return failure
    },
    drain: (use) => ring.drain(use),
    run(signal) {
      const order: ReadingOrder = { ...task, memory: ring.memory, originMs: systemMonotonicMs() - clock.monotonicMs() }
      const worker = new Worker(PATH, { workerData: order, env: SHARE_ENV, resourceLimits: LIMITS })
      worker.unref()
      const note = (text: unknown): void => {
        failure = String(text)
      }
      worker.on('message', note)
      worker.on('error', (error: Error) => note(error.message))
      const end = (): void => ring.end()
      if (signal.aborted) end()
      signal.addEventListener('abort', end, { once: true })
      return new Promise((resolve) =>
        worker.once('exit', () => {
          signal.removeEventListener('abort', end)
          resolve()
        }),
      )
    },
  }
}
