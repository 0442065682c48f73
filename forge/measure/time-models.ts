import { ConfigError } from '@espalier/shared/errors'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { Backend, Session } from '@espalier/shared/runtime/session'
import type { Graph } from '../graph/graph.ts'
import { type InputShape, inputShapes, randomFeeds } from '../graph/run.ts'
import { writeModel } from '../graph/write.ts'

/** Of one model on one backend with one thread. */
export interface ModelTime {
  readonly medianMs: number
  readonly p10Ms: number
  readonly p90Ms: number
  /** CPU milliseconds a run, of all threads. */
  readonly cpuMs: number
  /** Median over the rounds of this model's time over the first model's in the same round. */
  readonly ratio: number
}

/** WebAssembly starts in a quick translation and gets its fast one while it runs: less, and the first model timed looks slow. */
const WARM_UP_MS = 600
/** Wall time may be another's doing; within a round all models had about the same machine. */
const MIN_ROUNDS = 21
/** Short runs are repeated until a timing is worth its clock. */
const MIN_TIMING_MS = 8

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

interface Timed {
  readonly session: Session
  readonly run: () => Promise<unknown>
  repeats: number
  readonly ms: number[]
  readonly cpuMs: number[]
}

async function open(graph: Graph, input: InputShape, backend: Backend, name: string): Promise<Timed> {
  const session = await openSession(writeModel(graph), {
    backend,
    threads: 1,
    input: input.name,
    output: graph.outputs[0]!.name,
    weightInputs: [],
    name,
  })
  const { data } = randomFeeds([input])[input.name]!
  const feed = { type: 'float32' as const, data: data as Float32Array, dims: [...input.dims] }
  return { session, run: () => session.run(feed, new Map()), repeats: 1, ms: [], cpuMs: [] }
}

async function timeOnce({ run, repeats }: Timed): Promise<{ ms: number; cpuMs: number }> {
  const cpu = process.cpuUsage()
  const started = performance.now()
  for (let i = 0; i < repeats; i++) await run()
  const ms = performance.now() - started
  const { user, system } = process.cpuUsage(cpu)
  return { ms: ms / repeats, cpuMs: (user + system) / 1000 / repeats }
}

/** @returns Milliseconds of the last run. */
async function warmUp({ run }: Timed): Promise<number> {
  const started = performance.now()
  for (;;) {
    const before = performance.now()
    await run()
    const now = performance.now()
    if (now - started > WARM_UP_MS) return Math.max(0.01, now - before)
  }
}

/**
 * Time models of one float input against each other: all of them in every round, in an order drawn anew each time.
 *
 * @param options.seed Of the orders. @returns In the order of `graphs`.
 * @throws {ConfigError} If the backend is not on this machine. @throws {ModelError} If it refuses a graph.
 */
export async function timeModels(
  graphs: readonly Graph[],
  {
    backend,
    shape,
    rounds = MIN_ROUNDS,
    seed = 1,
    onProgress,
  }: {
    backend: Backend
    shape?: ReadonlyMap<string, readonly number[]> | undefined
    rounds?: number
    seed?: number
    onProgress?: (done: number, of: number) => void
  },
): Promise<ModelTime[]> {
  let state = seed
  // Park and Miller's minimal standard: an order needs no better.
  const next = (): number => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
  const timed: Timed[] = []
  try {
    for (const [i, graph] of graphs.entries())
      timed.push(await open(graph, inputShapes(graph, shape)[0]!, backend, `model ${i}`))
    for (const each of timed) each.repeats = Math.max(1, Math.round(MIN_TIMING_MS / (await warmUp(each))))
    for (let round = 0; round < rounds; round++) {
      const order = timed.map((each) => ({ each, at: next() })).sort((a, b) => a.at - b.at)
      for (const { each } of order) {
        const { ms, cpuMs } = await timeOnce(each)
        each.ms.push(ms)
        each.cpuMs.push(cpuMs)
      }
      onProgress?.(round + 1, rounds)
    }
  } finally {
    await Promise.all(timed.map(({ session }) => session.close()))
  }
  const first = timed[0]!
  return timed.map(({ ms, cpuMs }) => ({
    medianMs: quantile(ms, 0.5),
    p10Ms: quantile(ms, 0.1),
    p90Ms: quantile(ms, 0.9),
    cpuMs: quantile(cpuMs, 0.5),
    ratio: quantile(
      ms.map((each, round) => each / first.ms[round]!),
      0.5,
    ),
  }))
}

/** As `timeModels`, undefined where this machine lacks the backend, after saying so. */
export async function timeModelsIfPossible(
  ...[graphs, options]: Parameters<typeof timeModels>
): Promise<ModelTime[] | undefined> {
  try {
    return await timeModels(graphs, options)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`SKIPPED times on ${options.backend}: ${error.message}\n`)
    return undefined
  }
}
