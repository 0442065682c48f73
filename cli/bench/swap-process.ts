import '@espalier/agent/lean-heap'
import { seededRandom } from './seeded-random.ts'
import { runSwaps, type SwapRunOptions } from './swap-run.ts'

// The control process of the swap bench, with nothing of the bench in its memory.

export type SwapRequest = Omit<SwapRunOptions, 'random' | 'onSwap'> & { readonly seed: number }

process.once('message', ({ seed, ...options }: SwapRequest) => {
  void runSwaps({ ...options, random: seededRandom(seed), onSwap: (done) => process.send!(done) }).then((result) =>
    process.send!(result, () => process.exit(0)),
  )
})
