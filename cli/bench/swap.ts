import { type ChildProcess, fork, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { DEFAULT_WEAR_LIMITS } from '@espalier/agent/supervisor/worker-supervisor'
import { InvariantError } from '@espalier/shared/errors'
import { DEFAULT_FAMILY_DIR } from '../models.ts'
import { CONTROL_FLAGS } from '../node-programs.ts'
import { adapterPage, measureAdapters } from './adapter-table.ts'
import { atMost, type Findings } from './checks.ts'
import type { NaiveRequest, NaiveRun } from './naive-swap-process.ts'
import type { SwapRequest } from './swap-process.ts'
import type { SwapRun } from './swap-run.ts'

const SWAPS = 1000
const NAIVE_SWAPS = 200
/** What the first second of a worker is like is not the question here. */
const STEADY = { warmUpFrames: 20, steadyFrames: 50 }
const FRAME_RATE = 10
const SIZE = { width: 192, height: 112 }
/** Memory is compared over so many swaps; a process that has just started still grows. */
const MEMORY_WINDOW = 100
/** Processes that do nothing but compute, on a machine that is to be too busy. */
const RIVALS = 4
const LOADED = { swaps: 60, steadyFrames: 100, warmUpFrames: 20 }
/**
 * The control process bounds its heap itself, as the agent does (agent/lean-heap.ts). The other is bounded here: V8
 * doubles the room for young objects whenever it likes, 16 MB at a time.
 */
const PROCESSES = {
  naive: { script: './naive-swap-process.js', flags: ['--max-semi-space-size=2'] },
  slot: { script: './swap-process.js', flags: [...CONTROL_FLAGS] },
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN
}

const summary = (ms: readonly number[]) => ({
  count: ms.length,
  p50Ms: quantile(ms, 0.5),
  p95Ms: quantile(ms, 0.95),
  maxMs: quantile(ms, 1),
})

/** Percent between the second window and the last; medians, because collectors of garbage make a saw of it. */
function growthPct(bytes: readonly number[]): number {
  const early = quantile(bytes.slice(MEMORY_WINDOW >> 1, (MEMORY_WINDOW * 3) >> 1), 0.5)
  return 100 * (quantile(bytes.slice(-MEMORY_WINDOW), 0.5) / early - 1)
}

/** Each in a process of its own: its memory is its own. */
async function runIn<Result>(
  which: keyof typeof PROCESSES,
  request: NaiveRequest | SwapRequest,
  onSwap: (done: number) => void = () => undefined,
): Promise<Result> {
  const { script, flags } = PROCESSES[which]
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), {
    execArgv: flags,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  return new Promise<Result>((resolve, reject) => {
    child.on('message', (message) => (typeof message === 'number' ? onSwap(message) : resolve(message as Result)))
    child.once('exit', (code) => reject(new InvariantError(`Cannot measure swaps: the process ended with ${code}`)))
    child.send(request)
  })
}

function swapsAt(
  options: Pick<SwapRequest, 'swaps' | 'steadyFrames' | 'warmUpFrames'>,
  onSwap?: (done: number) => void,
): Promise<SwapRun> {
  const request = { ...options, size: SIZE, frameRate: FRAME_RATE, seed: 7, maxSwaps: DEFAULT_WEAR_LIMITS.maxSwaps }
  return runIn<SwapRun>('slot', request, onSwap)
}

/** The same beside processes that take every core several times: what is dropped then, with swaps and without. */
async function runLoaded() {
  const rivals: ChildProcess[] = Array.from({ length: RIVALS }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  try {
    const { frames, dropped, droppedSteady } = await swapsAt(LOADED)
    const swappingFrames = frames - LOADED.warmUpFrames - LOADED.steadyFrames
    return {
      rivals: RIVALS,
      steady: { frames: LOADED.steadyFrames, dropped: droppedSteady },
      swapping: { swaps: LOADED.swaps, frames: swappingFrames, dropped },
    }
  } finally {
    for (const rival of rivals) rival.kill('SIGKILL')
  }
}

const ms = (value: number): string => value.toFixed(1)
const mb = (bytes: number): string => (bytes / 1e6).toFixed(0)

/** @param say Told how far it is. */
export async function benchSwap(say: (line: string) => void): Promise<Findings> {
  say(`${NAIVE_SWAPS} swaps by a new session in the same process`)
  const naive = await runIn<NaiveRun>('naive', { swaps: NAIVE_SWAPS, size: SIZE, frameRate: FRAME_RATE })
  say(`${SWAPS} swaps in a slot`)
  const run = await swapsAt({ swaps: SWAPS, ...STEADY }, (done) => {
    if (done % 100 === 0) say(`${done} of ${SWAPS}`)
  })
  say('the same on a busy machine')
  const loaded = await runLoaded()
  say('the adapter in each way, by backend')
  const adapters = await measureAdapters(DEFAULT_FAMILY_DIR, ['wasm', 'native'])
  const [alpha, variant, latency] = [summary(run.alphaMs), summary(run.variantMs), summary(run.latencyMs)]
  const [naiveSwap, naiveLatency] = [summary(naive.swapMs), summary(naive.latencyMs)]
  const [controlPct, workerPct] = [growthPct(run.rssBytes), growthPct(run.workerRssBytes)]
  const naivePct = growthPct(naive.rssBytes)
  const coldLoadMs = naiveSwap.p50Ms
  const shareOf = ({ dropped, frames }: { dropped: number; frames: number }): string =>
    `${dropped} of ${dropped + frames} (${((100 * dropped) / (dropped + frames)).toFixed(1)} %)`
  return {
    checks: [
      atMost(`frames dropped in ${SWAPS} swaps`, run.dropped, 0, ''),
      atMost('frames lost without being counted', run.unexplained, 0, ''),
      atMost('frames repeated', run.repeated, 0, ''),
      atMost('frames out of order', run.outOfOrder, 0, ''),
      atMost('frames that a receiver could not follow', run.unfollowable, 0, ''),
      atMost('swaps that no frame showed', run.lost, 0, ''),
      atMost('workers that died', run.deaths.length, 0, ''),
      atMost('control process, growth of RSS', controlPct, 5, '%'),
      atMost('change of alpha, p95', alpha.p95Ms, 50, 'ms'),
      atMost('change of variant, p95, beyond one cold load', variant.p95Ms - coldLoadMs, 100, 'ms'),
    ],
    details: {
      size: SIZE,
      frameRate: FRAME_RATE,
      frames: run.frames,
      renewals: run.renewals,
      coldLoadMs,
      slot: { alpha, variant, latency, controlRssPct: controlPct, workerRssPct: workerPct },
      naive: { swaps: NAIVE_SWAPS, frames: naive.frames, swap: naiveSwap, latency: naiveLatency, rssPct: naivePct },
      rssBytes: { control: run.rssBytes.at(-1), worker: run.workerRssBytes.at(-1), naive: naive.rssBytes.at(-1) },
      /** Every hundredth swap. */
      controlRssBytes: run.rssBytes.filter((_, i) => i % 100 === 99),
      loaded,
      adapters,
    },
    page: [
      `${SIZE.width} x ${SIZE.height} at ${FRAME_RATE} frames/s, WebAssembly, one thread, the four variants of the shipped codec, any alpha. Milliseconds from the command`,
      '(or the arrival of the next frame, where that is later) to the first frame done with it; a whole frame is in each of them.',
      '',
      '| | in a slot | a new session in the same process |',
      '|---|---|---|',
      `| swaps | ${SWAPS} | ${NAIVE_SWAPS} |`,
      `| change of alpha, p50 / p95 / max | ${ms(alpha.p50Ms)} / ${ms(alpha.p95Ms)} / ${ms(alpha.maxMs)} ms | as below |`,
      `| change of variant, p50 / p95 / max | ${ms(variant.p50Ms)} / ${ms(variant.p95Ms)} / ${ms(variant.maxMs)} ms | ${ms(naiveSwap.p50Ms)} / ${ms(naiveSwap.p95Ms)} / ${ms(naiveSwap.maxMs)} ms |`,
      `| any frame, from its due time, p50 / p95 / max | ${ms(latency.p50Ms)} / ${ms(latency.p95Ms)} / ${ms(latency.maxMs)} ms | ${ms(naiveLatency.p50Ms)} / ${ms(naiveLatency.p95Ms)} / ${ms(naiveLatency.maxMs)} ms (network only) |`,
      `| RSS of the process that must not fail | ${mb(run.rssBytes.at(-1)!)} MB, ${controlPct.toFixed(1)} % growth | ${mb(naive.rssBytes.at(-1)!)} MB, ${naivePct.toFixed(1)} % growth |`,
      `| RSS of the worker | ${mb(run.workerRssBytes.at(-1)!)} MB; ${run.renewals} fresh one(s) took over | - |`,
      '',
      `On a machine that is too busy (${RIVALS} processes that only compute) frames are dropped with and without swaps: ${shareOf(loaded.steady)}`,
      `without, ${shareOf(loaded.swapping)} with ${LOADED.swaps} swaps.`,
      '',
      adapterPage(adapters),
    ].join('\n'),
  }
}
