import { readGradients } from '@espalier/forge/gradients'
import { hoistConstants } from '@espalier/forge/graph/constants'
import { PRUNE_SCORES, type PruneReport, type PruneScore, prune } from '@espalier/forge/passes/prune'
import { type SparsityReport, sparsify } from '@espalier/forge/passes/sparsify'
import { ConfigError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Common, kilo, parseCount, passCommand, runPass } from './forge-pass.ts'

function parseShare(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value < 1))
    throw new InvalidArgumentError('A share is a number from 0 to below 1.')
  return value
}

interface PruneCommand extends Common {
  readonly ratio: number
  readonly score: PruneScore
  readonly global?: true
  readonly multiple: number
  readonly unstructured?: true
  readonly gradients?: string
}

const pruneTable = ({ layers, locked }: PruneReport): string[] => [
  ...layers.map(
    ({ makers, before, after }) => `${makers.join(', ')}: ${before} -> ${after} channels, and all that reads them`,
  ),
  ...locked.map(({ maker, channels, reason }) => `${maker}: ${channels} channels stay: ${reason}`),
]

const sparsityTable = ({ weights, zeros, sparse, bytes, time }: SparsityReport): string[] => [
  `${zeros} of ${weights} weights are zero; ${sparse.length} tensors are stored without their zeros`,
  `bytes in full ${kilo(bytes.dense)}, without zeros ${kilo(bytes.sparse)}; deflated ${kilo(bytes.denseDeflated)} and ${kilo(bytes.sparseDeflated)}`,
  `time: ${time}`,
]

async function runPrune(input: string, options: PruneCommand): Promise<void> {
  const { ratio, score, multiple, unstructured, gradients } = options
  const isGlobal = options.global === true
  if (score === 'taylor' && gradients === undefined)
    throw new ConfigError(
      'Cannot prune by Taylor: give the gradients with --gradients, which forge/training/finetune.py --gradients writes',
    )
  const parameters = { ratio, score, multiple, isGlobal, unstructured: unstructured === true }
  await runPass('prune', input, options, parameters, async ({ graph: original }, probe) => {
    const graph = hoistConstants(original)
    if (unstructured) {
      const done = sparsify(graph, ratio)
      return { ...done, text: sparsityTable(done.report) }
    }
    const done = prune(graph, await probe(graph), {
      ratio,
      score,
      multiple,
      isGlobal,
      ...(gradients !== undefined && { gradients: await readGradients(gradients) }),
    })
    return { ...done, text: pruneTable(done.report) }
  })
}

export function registerForgePrune(forge: Command): void {
  passCommand(forge, 'prune', 'take out the channels that weigh least, with everything that depends on them')
    .option('--ratio <share>', 'of the channels of each layer, or with --unstructured of all weights', parseShare, 0.3)
    .addOption(new Option('--score <s>', 'what a channel weighs').choices(PRUNE_SCORES).default('l2'))
    .option('--gradients <file.safetensors>', 'of the loss by weight, for --score taylor')
    .option('--global', 'rank the channels of all layers together')
    .option('--multiple <n>', 'keep multiples of this many', parseCount, 1)
    .option(
      '--unstructured',
      'set the smallest weights to zero instead, and store them sparsely where that is smaller: saves room, never time',
    )
    .action(runPrune)
}
