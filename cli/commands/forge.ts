import { writeFile } from 'node:fs/promises'
import { judge } from '@espalier/forge/measure/dataset'
import { COLLAPSE_METHODS, type CollapseMethod, collapse } from '@espalier/forge/passes/collapse'
import { type FoldReport, fold, hoistConstants } from '@espalier/forge/passes/fold'
import { findRectifiers, measureChannels } from '@espalier/forge/passes/rectifiers'
import { measureBlocks, requireBlocks, skip } from '@espalier/forge/passes/skip'
import { ConfigError } from '@espalier/shared/errors'
import { type Command, Option } from 'commander'
import { startProgress } from '../progress.ts'
import { registerForgeAdapter } from './forge-adapter.ts'
import { readCalibration, type WithData, withData } from './forge-data.ts'
import { registerForgeFamily } from './forge-family.ts'
import { runInspect } from './forge-inspect.ts'
import { type Common, foldAfter, parseCount, parseNumber, passCommand, runPass, shapeOption } from './forge-pass.ts'
import { registerForgeProfile } from './forge-profile.ts'
import { registerForgePrune } from './forge-prune.ts'
import { registerForgeQuantise } from './forge-quantise.ts'
import { foldTable, rankingTable, skipTable } from './forge-tables.ts'
import { registerForgeTokens } from './forge-tokens.ts'
import { registerForgeVerify } from './forge-verify.ts'

const parseList = (text: string): string[] => text.split(',')

async function runCollapse(
  input: string,
  options: WithData & { method: CollapseMethod; count: number; names?: string[]; foldAfter: boolean; svg?: string },
): Promise<void> {
  const { method, count, names } = options
  if (method === 'easier' && options.data === undefined)
    throw new ConfigError('Cannot rank by EASIER: give a folder of pictures with --data')
  await runPass('collapse', input, options, { method, count, names }, async ({ graph: original }, probe) => {
    const graph = hoistConstants(original)
    const measured =
      options.data === undefined
        ? undefined
        : await (async () => {
            const { input: value, feeds } = await readCalibration(graph, options, options.calibration)
            return measureChannels(graph, findRectifiers(graph, await probe(graph)), value, feeds)
          })()
    const done = await collapse(graph, probe, {
      method,
      count,
      ...(names && { names }),
      ...(measured && { measured }),
    })
    const { ranking, collapsed, left } = done.report
    if (options.svg !== undefined) {
      const { plotRanking } = await import('@espalier/forge/measure/plot-ranking')
      await writeFile(options.svg, plotRanking(ranking, method))
    }
    const text = [
      ...rankingTable(ranking, method),
      ...collapsed.map((each) => `${each.name} is linear: ${each.removed} channels taken out, ${each.zeroed} zero`),
      ...left.map((each) => `${each.name} is left: ${each.reason}`),
    ]
    if (!options.foldAfter) return { ...done, text }
    const folded = await foldAfter(done.graph, probe, { name: input, shape: options.shape })
    return {
      graph: folded.graph,
      report: { ...done.report, fold: folded.report },
      text: [...text, ...foldTable(folded.report)],
    }
  })
}

async function runSkip(
  input: string,
  options: WithData & {
    tolerance: number
    blocks?: number
    tries: number
    seed: number
    heldOut: string
    heldOutLimit: number
  },
): Promise<void> {
  const { tolerance, blocks: atMost, tries, seed } = options
  await runPass('skip', input, options, { tolerance, atMost, tries, seed }, async ({ graph: original }, probe) => {
    const graph = hoistConstants(original)
    const blocks = requireBlocks(graph, await probe(graph), input)
    const calibration = await readCalibration(graph, options, options.calibration)
    const heldOut = await readCalibration(graph, { ...options, limit: options.heldOutLimit }, options.heldOut)
    const distances = await measureBlocks(graph, blocks, calibration.input, calibration.feeds, { seed })
    const progress = startProgress('judging')
    try {
      const base = await judge(graph, heldOut)
      let round = 0
      const done = await skip(
        graph,
        distances,
        async (candidate) => {
          const found = await judge(candidate, heldOut, { answers: base.answers })
          progress.update(++round, blocks.length)
          const harm = base.accuracyPct === null ? 100 - found.agreementPct! : base.accuracyPct - found.accuracyPct!
          return { harm, loss: found.loss }
        },
        { tolerance, tries, ...(atMost && { atMost }) },
      )
      const folded = await foldAfter(done.graph, probe, { name: input, shape: options.shape })
      return {
        graph: folded.graph,
        report: {
          ...done.report,
          accuracyPct: base.accuracyPct,
          loss: base.loss,
          fold: folded.report,
          judgedBy: base.accuracyPct === null ? 'agreement' : 'accuracy',
        },
        text: [
          `harm in points of ${base.accuracyPct === null ? 'agreement' : `accuracy, ${base.accuracyPct.toFixed(2)} % of ${base.pictures} held-out pictures before; loss ${base.loss!.toFixed(4)}`}`,
          ...skipTable(done.report),
          ...foldTable(folded.report),
        ],
      }
    } finally {
      progress.stop()
    }
  })
}

export function registerForgeCommand(program: Command): void {
  const forge = program
    .command('forge')
    .description('make smaller models of an ONNX model, and a family of them all: see docs/forge.md')
  const pass = (name: string, description: string): Command => passCommand(forge, name, description)
  forge
    .command('inspect')
    .description('layers, shapes, multiplications, parameters, and what could be folded, collapsed or skipped')
    .argument('<model.onnx>')
    .addOption(shapeOption())
    .option('--svg <file>', 'draw the graph into it')
    .option('--json', 'print one JSON document')
    .action(runInspect)
  pass('fold', 'fuse what stands in a row and is linear, wherever that is exact and multiplies no more (LayerFold)')
    .option(
      '--slope <s>',
      'a rectifier with at least this slope below zero is the identity (Layer Folding)',
      parseNumber,
      0.9,
    )
    .action((input: string, options: Common & { slope: number }) =>
      runPass(
        'fold',
        input,
        options,
        { slope: options.slope },
        async ({ graph }, probe) => {
          const done = fold(graph, await probe(hoistConstants(graph)), { slopeThreshold: options.slope })
          return { ...done, text: foldTable(done.report) }
        },
        // A rectifier that is only nearly the identity changes the outputs, and is meant to.
        (report) => !(report as FoldReport).removed.some((name) => /^(LeakyRelu|PRelu)/.test(name)),
      ),
    )
  withData(
    pass(
      'collapse',
      'make the rectifiers linear that matter least (TLC from BatchNorm, EASIER from pictures), then fold',
    ),
  )
    .addOption(
      new Option('--method <m>', 'tlc needs no pictures where BatchNorm is there')
        .choices(COLLAPSE_METHODS)
        .default('tlc'),
    )
    .option('--count <n>', 'how many', parseCount, 1)
    .option('--names <list>', 'exactly these', parseList)
    .option('--no-fold-after', 'leave the linear rows as they are')
    .option('--svg <file>', 'draw the ranking into it')
    .action(runCollapse)
  withData(
    pass('skip', 'take out residual blocks that move their input least (LaCoOT), while held-out accuracy allows'),
  )
    .option(
      '--tolerance <points>',
      'of accuracy that may be lost; of agreement where there are no labels',
      parseNumber,
      1,
    )
    .option('--blocks <n>', 'at most so many', parseCount)
    .option('--tries <n>', 'blocks that harm too much and are put back before it ends', parseNumber, 0)
    .option('--held-out <prefix>', 'files to judge by', 'val')
    .option('--held-out-limit <n>', 'pictures to judge by', parseCount, 2000)
    .option('--seed <n>', 'of the random directions', parseNumber, 1)
    .action(runSkip)
  registerForgePrune(forge)
  registerForgeTokens(forge)
  registerForgeQuantise(forge)
  registerForgeVerify(forge)
  registerForgeAdapter(forge)
  registerForgeFamily(forge)
  registerForgeProfile(forge)
}
