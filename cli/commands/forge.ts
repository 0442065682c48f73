import { writeFile } from 'node:fs/promises'
import { describeNode } from '@espalier/forge/graph/attributes'
import { type Cost, costsOf, type Shapes, totalCost } from '@espalier/forge/graph/cost'
import type { Graph } from '@espalier/forge/graph/graph'
import { inputShapes, openRunner, probeShapes, randomFeeds } from '@espalier/forge/graph/run'
import { type Dataset, type Judgement, judge, onlyInput, readDataset } from '@espalier/forge/measure/dataset'
import { lineageOf, type ModelFile, openModelFile, saveModelFile } from '@espalier/forge/model-file'
import { COLLAPSE_METHODS, type CollapseMethod, collapse } from '@espalier/forge/passes/collapse'
import { type FoldReport, fold, hoistConstants } from '@espalier/forge/passes/fold'
import { PRUNE_SCORES, type PruneScore, prune, sparsify } from '@espalier/forge/passes/prune'
import {
  measureRanges,
  QUANTISE_MODES,
  type QuantiseMode,
  quantiseDynamic,
  quantiseHalf,
  quantiseStatic,
} from '@espalier/forge/passes/quantise'
import { findRectifiers, measureChannels } from '@espalier/forge/passes/rectifiers'
import { settle } from '@espalier/forge/passes/settle'
import { findBlocks, measureBlocks, skip } from '@espalier/forge/passes/skip'
import { countAttentions, folderSchedule, mergeTokens, tomeSchedule } from '@espalier/forge/passes/tokens'
import { type Verification, verify } from '@espalier/forge/passes/verify'
import { ConfigError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { startProgress } from '../progress.ts'

/** `image=1x3x32x32`, once for each input that leaves its dimensions open. */
function parseShape(text: string, before: ReadonlyMap<string, number[]> = new Map()): Map<string, number[]> {
  const found = /^(.+)=(\d+(?:x\d+)*)$/.exec(text)
  if (found === null) throw new InvalidArgumentError('A shape reads name=1x3x32x32.')
  return new Map([...before, [found[1]!, found[2]!.split('x').map(Number)]])
}

function parseShare(text: string): number {
  const value = Number(text)
  if (!(value >= 0 && value < 1)) throw new InvalidArgumentError('A share is a number from 0 to below 1.')
  return value
}

function parseCount(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A count is a whole number from 1.')
  return value
}

const parseList = (text: string): string[] => text.split(',')

function parseNumber(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.')
  return value
}

interface Common {
  readonly out?: string
  readonly shape?: Map<string, number[]>
  readonly json?: true
}

/** One graph in numbers. */
interface Size extends Cost {
  readonly nodes: number
  readonly bytes: number
}

interface PassResult {
  readonly pass: string
  readonly before: Size
  readonly after: Size
  readonly verification?: Verification
  readonly report: unknown
}

const sizeOf = (graph: Graph, shapes: Shapes, bytes: number): Size => ({
  nodes: graph.nodes.length,
  bytes,
  ...totalCost(graph, shapes),
})

const kilo = (value: number): string =>
  value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : value >= 1e3 ? `${(value / 1e3).toFixed(1)} k` : `${value}`

function printResult({ pass, before, after, verification, report }: PassResult): void {
  const row = (name: string, a: number, b: number): string =>
    `${name.padEnd(12)} ${kilo(a).padStart(10)} -> ${kilo(b).padStart(10)}  ${a === 0 ? '' : `${(((b - a) / a) * 100).toFixed(1)} %`}`
  process.stdout.write(
    `${[
      pass,
      row('nodes', before.nodes, after.nodes),
      row('MACs', before.macs, after.macs),
      row('parameters', before.parameters, after.parameters),
      row('bytes', before.bytes, after.bytes),
      ...(verification === undefined
        ? []
        : [
            `outputs differ by ${verification.outputs.relative.toExponential(1)} of the largest at most; inside ${verification.interior?.relative.toExponential(1) ?? '-'}, at borders ${verification.border?.relative.toExponential(1) ?? '-'}`,
          ]),
      JSON.stringify(report, undefined, 2),
    ].join('\n')}\n`,
  )
}

/** Everything that a pass needs and ends with, around what it does. */
async function runPass(
  pass: string,
  input: string,
  options: Common,
  parameters: Record<string, unknown>,
  work: (file: ModelFile, probe: (graph: Graph) => Promise<Shapes>) => Promise<{ graph: Graph; report: unknown }>,
  isExact: (report: unknown) => boolean = () => false,
): Promise<void> {
  const file = await openModelFile(input)
  const probe = (graph: Graph): Promise<Shapes> => probeShapes(graph, input, options.shape)
  const original = hoistConstants(file.graph)
  const shapes = await probe(original)
  const { graph, report } = await work(file, probe)
  const verification = isExact(report)
    ? await verify(file.graph, graph, inputShapes(file.graph, options.shape), { name: input })
    : undefined
  if (verification !== undefined && !(verification.outputs.relative < 1e-3))
    throw new ConfigError(
      `Cannot ${pass} "${input}": the result differs by ${verification.outputs.relative.toExponential(1)} at "${verification.outputs.value}"; nothing was written`,
    )
  const after = await probe(graph)
  const bytes =
    options.out === undefined ? 0 : await saveModelFile(options.out, graph, { pass, parameters, from: file.digest })
  const result: PassResult = {
    pass,
    before: sizeOf(original, shapes, file.bytes),
    after: sizeOf(graph, after, bytes),
    ...(verification === undefined ? {} : { verification }),
    report,
  }
  if (options.json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
  else printResult(result)
}

async function inspect(input: string, options: Common): Promise<void> {
  const file = await openModelFile(input)
  const graph = hoistConstants(file.graph)
  const shapes = await probeShapes(graph, input, options.shape)
  const costs = costsOf(graph, shapes)
  const layers = graph.nodes.map((node) => ({
    name: describeNode(node),
    output: shapes.get(node.outputs[0]!) ?? [],
    ...costs.get(node)!,
  }))
  const folded = fold(graph, shapes)
  const found = {
    opset: graph.opset,
    producer: `${graph.model.producerName} ${graph.model.producerVersion}`.trim(),
    inputs: inputShapes(graph, options.shape),
    outputs: graph.outputs.map(({ name }) => ({ name, dims: shapes.get(name) })),
    ...sizeOf(graph, shapes, file.bytes),
    lineage: lineageOf(graph),
    layers,
    foldable: folded.report.fused,
    rectifiers: findRectifiers(graph, shapes).map(({ name, kind, channels }) => ({ name, kind, channels })),
    blocks: findBlocks(graph, shapes),
  }
  if (options.json) {
    process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`)
    return
  }
  const lines = [
    `${input}: opset ${found.opset}, ${found.producer || 'unknown producer'}, ${kilo(found.bytes)}B, ${kilo(found.macs)}MAC, ${kilo(found.parameters)} parameters`,
    ...layers
      .filter(({ macs, parameters }) => macs + parameters > 0)
      .map(
        (l) =>
          `${l.name.padEnd(60)} ${l.output.join('x').padStart(16)} ${kilo(l.macs).padStart(10)} ${kilo(l.parameters).padStart(10)}`,
      ),
    `foldable rows: ${found.foldable.length}; rectifiers: ${found.rectifiers.length}; blocks that could be skipped: ${found.blocks.length}`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

interface WithData extends Common {
  readonly data?: string
  readonly calibration: string
  readonly limit: number
}

const readCalibration = (graph: Graph, options: WithData, prefix: string): Promise<Dataset> => {
  if (options.data === undefined) throw new ConfigError('Cannot calibrate: give a folder of pictures with --data')
  return readDataset(options.data, onlyInput(graph), { prefix, limit: options.limit })
}

async function runCollapse(
  input: string,
  options: WithData & { method: CollapseMethod; count: number; names?: string[]; foldAfter: boolean },
): Promise<void> {
  const { method, count, names } = options
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
    if (!options.foldAfter) return done
    const folded = fold(done.graph, await probe(done.graph))
    return { graph: folded.graph, report: { ...done.report, fold: folded.report } }
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
    const blocks = findBlocks(graph, await probe(graph))
    if (blocks.length === 0)
      throw new ConfigError(`Cannot skip in "${input}": it has no residual block whose input and output have one shape`)
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
          return base.accuracyPct === null ? 100 - found.agreementPct! : base.accuracyPct - found.accuracyPct!
        },
        { tolerance, tries, ...(atMost && { atMost }) },
      )
      const folded = fold(done.graph, await probe(done.graph))
      return {
        graph: folded.graph,
        report: {
          ...done.report,
          accuracyPct: base.accuracyPct,
          judgedBy: base.accuracyPct === null ? 'agreement' : 'accuracy',
        },
      }
    } finally {
      progress.stop()
    }
  })
}

async function runPrune(
  input: string,
  options: Common & {
    ratio: number
    score: PruneScore
    global?: true
    multiple: number
    unstructured?: true
  },
): Promise<void> {
  const { ratio, score, multiple } = options
  const parameters = {
    ratio,
    score,
    multiple,
    isGlobal: options.global === true,
    unstructured: options.unstructured === true,
  }
  await runPass('prune', input, options, parameters, async ({ graph }, probe) => {
    if (options.unstructured) return sparsify(graph, ratio)
    const hoisted = hoistConstants(graph)
    return prune(hoisted, await probe(hoisted), { ratio, score, multiple, isGlobal: options.global === true })
  })
}

async function runTokens(
  input: string,
  options: Common & {
    method: 'tome' | 'folder'
    perBlock: number
    total?: number
    classToken: boolean
    proportional: boolean
  },
): Promise<void> {
  const { method, perBlock, total, classToken, proportional } = options
  await runPass(
    'tokens',
    input,
    options,
    { method, perBlock, total, classToken, proportional },
    async ({ graph: original }, probe) => {
      const graph = await settle(original, input, inputShapes(original, options.shape))
      const shapes = await probe(graph)
      const blocks = countAttentions(graph, shapes)
      const schedule =
        method === 'tome' ? tomeSchedule(blocks, perBlock) : folderSchedule(blocks, total ?? perBlock * blocks)
      return mergeTokens(graph, shapes, { schedule, hasClassToken: classToken, isProportional: proportional })
    },
  )
}

async function runQuantise(input: string, options: WithData & { mode: QuantiseMode }): Promise<void> {
  const { mode, limit } = options
  await runPass('quantise', input, options, { mode, limit }, async ({ graph: original }, probe) => {
    const hoisted = hoistConstants(original)
    if (mode === 'fp16') return quantiseHalf(hoisted)
    if (mode === 'dynamic') return quantiseDynamic(hoisted)
    // Folded first: a BatchNorm between would need a range of its own.
    const { graph } = fold(hoisted, await probe(hoisted))
    const { input: value, feeds } = await readCalibration(graph, options, options.calibration)
    return quantiseStatic(graph, await measureRanges(graph, value, feeds))
  })
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

/** Milliseconds a run of each model, all in turn within each round, so that what else the machine does hits all alike. */
async function timeModels(
  graphs: readonly Graph[],
  shape: Map<string, number[]> | undefined,
  rounds = 31,
): Promise<number[]> {
  const runners = await Promise.all(graphs.map((graph) => openRunner(graph, 'timed', { optimise: true })))
  const feeds = graphs.map((graph) => randomFeeds(inputShapes(graph, shape)))
  const times = graphs.map((): number[] => [])
  for (let round = -5; round < rounds; round++)
    for (const [i, runner] of runners.entries()) {
      const started = performance.now()
      await runner.run(feeds[i]!)
      if (round >= 0) times[i]!.push(performance.now() - started)
    }
  await Promise.all(runners.map((runner) => runner.close()))
  return times.map(median)
}

/** Judge models side by side: accuracy, agreement with the first, cost and time. */
async function runVerify(
  models: string[],
  options: WithData & { heldOut: string; heldOutLimit: number },
): Promise<void> {
  const files = await Promise.all(models.map(openModelFile))
  const graphs = files.map(({ graph }) => hoistConstants(graph))
  const medianMs = await timeModels(graphs, options.shape)
  const dataset =
    options.data === undefined
      ? undefined
      : await readCalibration(graphs[0]!, { ...options, limit: options.heldOutLimit }, options.heldOut)
  const rows = []
  let answers: readonly number[] | undefined
  for (const [i, graph] of graphs.entries()) {
    const judged = dataset && (await judge(graph, dataset, answers === undefined ? {} : { answers }))
    answers ??= judged?.answers
    const { answers: _, ...judgement } = judged ?? { answers: [] }
    const size = sizeOf(graph, await probeShapes(graph, models[i]!, options.shape), files[i]!.bytes)
    rows.push({ model: models[i]!, ...size, medianMs: medianMs[i]!, ...judgement })
  }
  if (options.json) process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`)
  else
    for (const row of rows) {
      const judgement = row as Partial<Judgement>
      process.stdout.write(
        `${row.model}: ${kilo(row.macs)}MAC, ${kilo(row.bytes)}B, ${row.medianMs.toFixed(2)} ms (${(row.medianMs / rows[0]!.medianMs).toFixed(2)} of the first)${judgement.accuracyPct == null ? '' : `, ${judgement.accuracyPct.toFixed(2)} %`}${judgement.agreementPct == null ? '' : `, agrees ${judgement.agreementPct.toFixed(1)} %`}\n`,
      )
    }
}

async function drawSvg(input: string, options: Common & { svg?: string }): Promise<void> {
  await inspect(input, options)
  if (options.svg === undefined) return
  const { drawGraph } = await import('@espalier/forge/measure/draw-graph')
  const { graph } = await openModelFile(input)
  const hoisted = hoistConstants(graph)
  await writeFile(options.svg, drawGraph(hoisted, await probeShapes(hoisted, input, options.shape)))
}

export function registerForgeCommand(program: Command): void {
  const forge = program
    .command('forge')
    .description('make variants of an ONNX model: fold, collapse, skip, prune; each is checked against the original')
  const shape = () =>
    new Option('--shape <name=1x3x32x32>', 'dimensions of an input that leaves them open').argParser(parseShape)
  const pass = (name: string, description: string): Command =>
    forge
      .command(name)
      .description(description)
      .argument('<model.onnx>')
      .option('-o, --out <out.onnx>', 'where to write; without it nothing is written')
      .addOption(shape())
      .option('--json', 'print one JSON document')
  const withData = (command: Command): Command =>
    command
      .option('--data <folder>', 'pictures, or sheets of them with labels (docs/forge.md)')
      .option('--calibration <prefix>', 'files to calibrate with', 'train')
      .option('--limit <n>', 'pictures to calibrate with', parseCount, 256)
  forge
    .command('inspect')
    .description('layers, shapes, multiplications, parameters, and what could be folded, collapsed or skipped')
    .argument('<model.onnx>')
    .addOption(shape())
    .option('--svg <file>', 'draw the graph into it')
    .option('--json', 'print one JSON document')
    .action(drawSvg)
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
        async ({ graph }, probe) => fold(graph, await probe(hoistConstants(graph)), { slopeThreshold: options.slope }),
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
  pass('prune', 'take out the channels that weigh least, with everything that depends on them')
    .option('--ratio <share>', 'of the channels of each layer, or with --unstructured of all weights', parseShare, 0.3)
    .addOption(new Option('--score <s>').choices(PRUNE_SCORES.filter((score) => score !== 'taylor')).default('l2'))
    .option('--global', 'rank the channels of all layers together')
    .option('--multiple <n>', 'keep multiples of this many', parseCount, 1)
    .option('--unstructured', 'set the smallest weights to zero instead: saves room when compressed, never time')
    .action(runPrune)
  pass('tokens', 'merge tokens of a vision transformer that are alike (ToMe), or in the last blocks (FOLDER)')
    .addOption(new Option('--method <m>').choices(['tome', 'folder']).default('folder'))
    .option('--per-block <n>', 'tokens that go in each block; folder takes as many times the blocks', parseNumber, 5)
    .option('--total <n>', 'folder: tokens that go in all', parseNumber)
    .option('--no-class-token', 'the first token may merge like any other')
    .option('--no-proportional', 'a merged token counts once in later attention, not by its size')
    .action(runTokens)
  withData(pass('quantise', 'int8 by calibration (static) or as it comes (dynamic), or float16 weights'))
    .addOption(new Option('--mode <m>').choices(QUANTISE_MODES).default('static'))
    .action(runQuantise)
  withData(
    forge
      .command('verify')
      .description('judge models side by side: accuracy, agreement with the first, cost and time')
      .argument('<models...>')
      .addOption(shape())
      .option('--json', 'print one JSON document'),
  )
    .option('--held-out <prefix>', 'files to judge by', 'test')
    .option('--held-out-limit <n>', 'pictures to judge by', parseCount, 10_000)
    .action(runVerify)
}
