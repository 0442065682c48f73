import { parentPort, workerData } from 'node:worker_threads'
import { parseBandwidthTrace } from './bandwidth-trace.ts'
import { type SeedResult, type SimulationOptions, simulateSeed } from './simulate.ts'

/** Traces travel as their text: functions do not. */
export interface SeedJob {
  readonly seed: number
  readonly options: Omit<SimulationOptions, 'bandwidth'>
  readonly traces: readonly { readonly name: string; readonly text: string }[]
}

export type SeedMessage = { readonly done: number; readonly of: number } | { readonly result: SeedResult }

const { seed, options, traces } = workerData as SeedJob
const bandwidth = traces.map(({ name, text }) => parseBandwidthTrace(name, text))
const post = (message: SeedMessage) => parentPort!.postMessage(message)
post({ result: simulateSeed(seed, { ...options, bandwidth }, (done, of) => post({ done, of })) })
