import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { WORKER_PATH, WorkerSupervisor } from '@espalier/agent/supervisor/worker-supervisor'
import type { Configuration } from '@espalier/shared/configuration'
import { DEFAULT_FAMILY_DIR } from '../models.ts'
import type { BareStart } from './bare-loop-process.ts'
import { atMost, type Check } from './checks.ts'

const BARE_PROCESS = fileURLToPath(new URL('./bare-loop-process.js', import.meta.url))
const SIZE = { width: 256, height: 144 }
const WARM_UP_FRAMES = 30
const FRAMES = 300

const configuration: Configuration = {
  family: 'kodo',
  variant: 'full',
  alpha255: 128,
  mode: 'merged',
  backend: 'wasm',
  threads: 1,
  ...SIZE,
  frameRate: 10,
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

/** Between which the middle half of the values lies. */
function quartiles(values: readonly number[]): readonly [number, number] {
  const sorted = [...values].sort((a, b) => a - b)
  return [sorted[values.length >> 2]!, sorted[(values.length * 3) >> 2]!]
}

async function openBare(start: BareStart): Promise<{ run: () => Promise<number>; end: () => void }> {
  const child = fork(BARE_PROCESS, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const answer = async (question: BareStart | 'run'): Promise<unknown> => {
    child.send(question)
    return ((await once(child, 'message')) as [unknown])[0]
  }
  await answer(start)
  return { run: async () => (await answer('run')) as number, end: () => child.disconnect() }
}

/**
 * How long the network takes in the agent's worker beside a bare loop over onnxruntime-web: one frame here, one frame
 * there, in processes of their own that never run at once.
 *
 * @returns Checks and details of the bench "agent".
 */
export async function measureAgentLoop(): Promise<{ readonly checks: readonly Check[]; readonly details: unknown }> {
  const rgb = new Uint8Array(SIZE.width * SIZE.height * 3).map((_, i) => (i * 31) & 0xff)
  const { variant, alpha255 } = configuration
  const bare = await openBare({ variant, alpha255, ...SIZE, rgb })
  const agent = new WorkerSupervisor({
    workerPath: WORKER_PATH,
    familyDir: DEFAULT_FAMILY_DIR,
    threads: 1,
    frameDeadlineMs: 15_000,
    onDeath: () => undefined,
  })
  agent.start()
  const [bareMs, networkMs, frameMs]: [number[], number[], number[]] = [[], [], []]
  try {
    await agent.ready(new AbortController().signal)
    await agent.openVariants([variant])
    const runAgent = async (): Promise<void> => {
      const startedMs = performance.now()
      const { timings } = await agent.process({ ...SIZE, rgb }, configuration, {
        keyFrame: true,
        measureQuality: false,
      })
      frameMs.push(performance.now() - startedMs)
      networkMs.push(timings.networkMs)
    }
    const runBare = async (): Promise<void> => void bareMs.push(await bare.run())
    for (let frame = 0; frame < WARM_UP_FRAMES + FRAMES; frame++) {
      // Whoever is second finds the caches of the first.
      for (const run of frame % 2 === 0 ? [runAgent, runBare] : [runBare, runAgent]) await run()
      if (frame + 1 === WARM_UP_FRAMES) for (const list of [bareMs, networkMs, frameMs]) list.length = 0
    }
  } finally {
    bare.end()
    await agent.stop()
  }
  // Pair by pair, so that what slows the machine for a while slows both.
  const ratios = networkMs.map((value, i) => value / bareMs[i]!)
  return {
    checks: [
      atMost('inference loop in the agent, above a bare onnxruntime-web loop', 100 * (median(ratios) - 1), 2, '%'),
    ],
    details: {
      frames: FRAMES,
      ...SIZE,
      bareMs: median(bareMs),
      agentNetworkMs: median(networkMs),
      /** With the entropy coder and the way to the worker and back. */
      agentFrameMs: median(frameMs),
      ratioQuartiles: quartiles(ratios),
    },
  }
}
