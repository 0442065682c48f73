import { parentPort, workerData } from 'node:worker_threads'
import { describeError } from '@espalier/shared/errors'
import { findFastProbe } from '../sensors/find-fast-probe.ts'
import { systemFiles } from '../sensors/this-system-files.ts'
import { systemMonotonicMs } from '../time/system-monotonic.ts'
import { Pacer } from './pacer.ts'
import { ReadingRing } from './reading-ring.ts'
import type { ReadingOrder } from './reading-thread.ts'

// What runs in the thread: wait, read, put down.

const { memory, root, source, periodMs, maxCpuShare, originMs } = workerData as ReadingOrder
// One kind of clock for both sides, and the cheaper one for each reading.
const aheadMs = systemMonotonicMs() - originMs - performance.now()
const clock = { monotonicMs: () => performance.now() + aheadMs }
const ring = new ReadingRing(memory)
const probe = findFastProbe({ root, files: systemFiles }, source)
const pacer = new Pacer({ periodMs, maxCpuShare, clock, random: Math.random })
let told: string | undefined

function read(): number {
  try {
    const watts = probe.read() as number
    told = undefined
    return watts
  } catch (error) {
    const reason = describeError(error)
    if (reason !== told) parentPort?.postMessage(reason)
    told = reason
    return Number.NaN
  }
}

/** One reading. @returns Until the next. */
function turn(): number {
  const startMs = clock.monotonicMs()
  const watts = read()
  const endMs = clock.monotonicMs()
  pacer.learn(endMs - startMs)
  ring.put((startMs + endMs) / 2, watts, pacer)
  return pacer.nextWaitMs()
}

let waitMs = turn()
while (!ring.waitForEnd(waitMs)) waitMs = turn()
