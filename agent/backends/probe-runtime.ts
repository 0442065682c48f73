import { describeError, ModelError } from '@espalier/shared/errors'
import { WorkerProcess } from '../supervisor/worker-process.ts'
import type { Probe } from './choose-runtimes.ts'
import type { Runtime } from './runtime.ts'

/** A driver that hangs, or a GPU that is slower than any processor, must not keep the device from its work for long. */
const START_DEADLINE_MS = 30_000
const CHECK_DEADLINE_MS = 30_000
const MAX_REASON_LENGTH = 300

export interface ProbeOptions {
  readonly workerPath: string
  readonly familyDir: string
  readonly variants: readonly string[]
}

/** Drivers complain of much before the worker says what the matter is. */
function sentenceOf(error: unknown): string {
  const lines = describeError(error).split('\n')
  return lines.findLast((line) => line.startsWith('Cannot '))!.slice(0, MAX_REASON_LENGTH)
}

/**
 * Try a runtime with a family, in a process that may die of it: time the first variant and ask every variant for its
 * golden outputs.
 */
export async function probeRuntime(
  runtime: Runtime,
  { workerPath, familyDir, variants }: ProbeOptions,
): Promise<Probe> {
  const worker = new WorkerProcess({
    ...runtime,
    workerPath,
    familyDir,
    frameDeadlineMs: CHECK_DEADLINE_MS,
    // What every device has is waited for as ever.
    ...(runtime.backend === 'wasm' ? {} : { startDeadlineMs: START_DEADLINE_MS }),
  })
  try {
    const speed = await worker.ready
    const failures = new Map<string, string>()
    for (const variant of variants) {
      await worker.openVariants([variant]).catch((error: unknown) => {
        if (!(error instanceof ModelError)) throw error
        failures.set(variant, sentenceOf(error))
      })
    }
    return { runtime, speed, failures }
  } catch (error) {
    return { runtime, reason: sentenceOf(error) }
  } finally {
    worker.kill()
    await worker.ended
  }
}
