import { join } from 'node:path'
import { WORKER_PATH, WorkerSupervisor } from '@espalier/agent/supervisor/worker-supervisor'

export const FAMILY = join(import.meta.dirname, '../../models/kodo')

/** Run with a real worker of the shipped codec that can be asked, and with the list of its deaths; end it after. */
export async function withWorker(
  use: (worker: WorkerSupervisor, deaths: string[]) => Promise<void>,
  { frameDeadlineMs }: { frameDeadlineMs: number },
): Promise<void> {
  const deaths: string[] = []
  const worker = new WorkerSupervisor({
    workerPath: WORKER_PATH,
    familyDir: FAMILY,
    threads: 1,
    frameDeadlineMs,
    onDeath: (reason) => deaths.push(reason),
  })
  worker.start()
  try {
    await worker.ready(new AbortController().signal)
    await use(worker, deaths)
  } finally {
    await worker.stop()
  }
}
