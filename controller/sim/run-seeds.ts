import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { SeedJob, SeedMessage } from './seed-worker.ts'
import { type SeedResult, stepsOf } from './simulate.ts'

function runSeed(job: SeedJob, onStep: () => void): Promise<SeedResult> {
  const worker = new Worker(new URL('./seed-worker.js', import.meta.url), { workerData: job })
  return new Promise((resolve, reject) => {
    worker.on('message', (message: SeedMessage) => {
      if ('result' in message) resolve(message.result)
      else onStep()
    })
    worker.on('error', reject)
    worker.on('exit', (code) => reject(new Error(`Cannot simulate seed ${job.seed}: its thread ended with ${code}`)))
  })
}

/** One thread for each seed, as many at once as there are cores; results in the order of the seeds. */
export async function runSeeds(
  seeds: readonly number[],
  job: Omit<SeedJob, 'seed'>,
  onProgress: (done: number, of: number) => void,
): Promise<SeedResult[]> {
  const results: SeedResult[] = []
  const of = seeds.length * stepsOf(job.options)
  let [next, done] = [0, 0]
  const lane = async (): Promise<void> => {
    while (next < seeds.length) {
      const k = next++
      results[k] = await runSeed({ ...job, seed: seeds[k]! }, () => onProgress(++done, of))
    }
  }
  await Promise.all(Array.from({ length: Math.min(seeds.length, availableParallelism()) }, lane))
  return results
}
