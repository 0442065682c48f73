import { raiseOpset } from '@espalier/forge/graph/raise-opset'
import { inputShapes, withShapes } from '@espalier/forge/graph/run'
import { countAttentions } from '@espalier/forge/passes/attentions'
import { settle } from '@espalier/forge/passes/settle'
import { folderSchedule, tomeSchedule } from '@espalier/forge/passes/token-schedule'
import { mergeTokens, type TokenReport } from '@espalier/forge/passes/tokens'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Common, passCommand, runPass } from './forge-pass.ts'

/** ScatterElements can add from this opset on. */
const OPSET = 16

function parseTokens(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('A number of tokens is a whole one from 0.')
  return value
}

interface TokensCommand extends Common {
  readonly method: 'tome' | 'folder'
  readonly perBlock: number
  readonly total?: number
  readonly classToken: boolean
  readonly proportional: boolean
}

const tokenTable = ({ tokens, steps }: TokenReport): string[] =>
  tokens.map(
    (left, i) => `block ${i + 1}: ${steps[i]!.map((step) => `-${step}`).join(' ') || '-0'}, ${left} tokens left`,
  )

async function runTokens(input: string, options: TokensCommand): Promise<void> {
  const { method, perBlock, total, classToken, proportional } = options
  const parameters = { method, perBlock, total, classToken, proportional }
  await runPass('tokens', input, options, parameters, async ({ graph: original }, probe) => {
    const inputs = inputShapes(original, options.shape)
    // Counts of tokens are written into the graph: it is right at this shape alone, and says so.
    const settled = withShapes(await settle(original, input, inputs), inputs)
    const shapes = await probe(settled)
    const blocks = countAttentions(settled, shapes)
    const graph = blocks === 0 ? settled : raiseOpset(settled, OPSET, shapes)
    const done = mergeTokens(graph, shapes, {
      schedule: method === 'tome' ? tomeSchedule(blocks, perBlock) : folderSchedule(blocks, total ?? perBlock * blocks),
      overflow: method === 'tome' ? 'stay' : 'repeat',
      hasClassToken: classToken,
      isProportional: proportional,
    })
    return { ...done, text: tokenTable(done.report) }
  })
}

export function registerForgeTokens(forge: Command): void {
  passCommand(
    forge,
    'tokens',
    'merge tokens of a vision transformer that are alike (ToMe), or in the last blocks (FOLDER)',
  )
    .addOption(new Option('--method <m>').choices(['tome', 'folder']).default('folder'))
    .option('--per-block <n>', 'tokens that go in each block; folder takes as many times the blocks', parseTokens, 5)
    .option('--total <n>', 'folder: tokens that go in all', parseTokens)
    .option('--no-class-token', 'the first token may merge like any other')
    .option('--no-proportional', 'a merged token counts once in later attention, not by its size')
    .action(runTokens)
}
