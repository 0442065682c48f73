import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { defaultPowerModel } from '@espalier/agent/meter/power-model'
import { readBoard } from '@espalier/agent/meter/read-machine'
import { totalCost } from '@espalier/forge/graph/cost'
import { depthOf } from '@espalier/forge/graph/depth'
import { probeShapes } from '@espalier/forge/graph/run'
import { writeModel } from '@espalier/forge/graph/write'
import { type Dataset, judge, onlyInput, readDataset } from '@espalier/forge/measure/dataset'
import { type ModelTime, timeModels, timeModelsIfPossible } from '@espalier/forge/measure/time-models'
import { openModelFile } from '@espalier/forge/model-file'
import { hoistConstants } from '@espalier/forge/passes/fold'
import { findRectifiers } from '@espalier/forge/passes/rectifiers'
import { ModelError } from '@espalier/shared/errors'
import { startProgress } from '../progress.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'
import { METHODS, type Method, missingModels } from './forge-methods.ts'
import { runForge } from './run-forge.ts'
import { checkOnnx, runThirdParty, type ThirdPartyResult } from './third-party.ts'

interface Measured {
  readonly file: string
  readonly accuracyPct: number
  /** On the test pictures alone, which chose nothing. */
  readonly testPct: number
  readonly depth: number
  readonly rectifiers: number
  readonly macs: number
  readonly parameters: number
  readonly bytes: number
  readonly deflatedBytes: number
  readonly wasm: ModelTime
  readonly native?: ModelTime
  /** Modelled: CPU time times the watts that a busy core adds. */
  readonly millijoules: number
}

export interface MethodResult {
  readonly method: string
  readonly network: Method['network']
  readonly before: Measured
  readonly surgeryPct: number | null
  readonly after: Measured
  readonly paper: string
}

interface Prepared {
  readonly method: Method
  readonly surgery: string
  readonly after: string
}

/** Make what a method without gradients makes; find what the recipes made. */
async function prepare(folder: string, work: string, dataDir: string): Promise<Prepared[]> {
  const prepared: Prepared[] = []
  for (const [i, method] of METHODS.entries()) {
    if (method.words === undefined) {
      const surgery = join(folder, method.surgery ?? method.healed!)
      prepared.push({ method, surgery, after: join(folder, method.healed ?? method.surgery!) })
      continue
    }
    const out = join(work, `${i}.onnx`)
    const data = method.words.includes('--calibration') ? ['--data', join(dataDir, 'cifar10')] : []
    const [verb, ...flags] = method.words
    const found = await runForge([verb!, join(folder, method.before), '-o', out, ...flags, ...data])
    if (found.outcome === 'refused') throw new ModelError(found.reason)
    prepared.push({ method, surgery: out, after: out })
  }
  return prepared
}

async function joined(
  folder: string,
  input: Parameters<typeof readDataset>[1],
): Promise<{ val: Dataset; test: Dataset }> {
  return {
    val: await readDataset(folder, input, { prefix: 'val' }),
    test: await readDataset(folder, input, { prefix: 'test' }),
  }
}

const mean = (parts: readonly (readonly [pct: number, count: number])[]): number =>
  parts.reduce((sum, [pct, count]) => sum + pct * count, 0) / parts.reduce((sum, [, count]) => sum + count, 0)

/** Measure every method's models. @param folder Of forge/training's classifiers. */
async function measureMethods(folder: string, work: string, dataDir: string): Promise<MethodResult[]> {
  const prepared = await prepare(folder, work, dataDir)
  const board = readBoard('/')
  const model = defaultPowerModel(board)
  const wattsOfCore = (model.fullW - model.idleW) / board.cores
  const results: MethodResult[] = []
  for (const network of new Set(METHODS.map((method) => method.network))) {
    const own = prepared.filter(({ method }) => method.network === network)
    const before = join(folder, own[0]!.method.before)
    const timed = [...new Set([before, ...own.map(({ after }) => after)])]
    const files = await Promise.all(timed.map(openModelFile))
    const graphs = files.map(({ graph }) => graph)
    // Times first, all models of a network in turn.
    const timing = startProgress(`timing ${network}`)
    const wasm = await timeModels(graphs, { backend: 'wasm', onProgress: timing.update })
    const native = await timeModelsIfPossible(graphs, { backend: 'native', onProgress: timing.update })
    timing.stop()
    const { val, test } = await joined(join(dataDir, 'cifar10'), onlyInput(graphs[0]!))
    const judging = startProgress(`judging ${network}`)
    const judged = new Map<string, { accuracyPct: number; testPct: number }>()
    const everything = [...new Set([...timed, ...own.map(({ surgery }) => surgery)])]
    for (const [i, file] of everything.entries()) {
      const { graph } = await openModelFile(file)
      const [a, b] = [await judge(graph, val, { backend: 'native' }), await judge(graph, test, { backend: 'native' })]
      const [valPct, testPct] = [a.accuracyPct!, b.accuracyPct!]
      const accuracyPct = mean([
        [valPct, a.pictures],
        [testPct, b.pictures],
      ])
      judged.set(file, { accuracyPct, testPct })
      judging.update(i + 1, everything.length)
    }
    judging.stop()
    const measured = new Map<string, Measured>()
    for (const [i, file] of timed.entries()) {
      const graph = hoistConstants(graphs[i]!)
      const shapes = await probeShapes(graph, file)
      measured.set(file, {
        file: file.replace(`${folder}/`, '').replace(`${work}/`, 'made/'),
        ...judged.get(file)!,
        depth: depthOf(graph),
        rectifiers: findRectifiers(graph, shapes).length,
        ...totalCost(graph, shapes),
        bytes: (await stat(file)).size,
        deflatedBytes: deflateRawSync(writeModel(graphs[i]!)).length,
        wasm: wasm[i]!,
        ...(native && { native: native[i]! }),
        millijoules: wasm[i]!.cpuMs * wattsOfCore,
      })
    }
    for (const { method, surgery, after } of own)
      results.push({
        method: method.name,
        network,
        before: measured.get(before)!,
        surgeryPct: judged.get(surgery)!.accuracyPct,
        after: measured.get(after)!,
        paper: method.paper,
      })
  }
  return results
}

const changePct = (from: number, to: number): number => ((to - from) / from) * 100

function checksOf(results: readonly MethodResult[]): Check[] {
  const find = (name: string, network = 'resnet'): MethodResult =>
    results.find((each) => each.method === name && each.network === network)!
  const lost = ({ before, after }: MethodResult): number => before.accuracyPct - after.accuracyPct
  const linearised = ({ before, after }: MethodResult): number => (1 - after.rectifiers / before.rectifiers) * 100
  const lacoot = find('LaCoOT')
  const [tlc, easier] = [find('TLC'), find('EASIER')]
  const linear = lost(tlc) < lost(easier) ? tlc : easier
  const folder = find('FOLDER, half of the tokens', 'vit')
  return [
    atLeast('LaCoOT, ResNet: MACs removed', -changePct(lacoot.before.macs, lacoot.after.macs), 30, '%'),
    atMost('LaCoOT, ResNet: points lost', lost(lacoot), 1, ''),
    atLeast('LaCoOT, ResNet: latency removed, wasm', (1 - lacoot.after.wasm.ratio) * 100, 25, '%'),
    atLeast(`${linear.method}, ResNet: activations linearised`, linearised(linear), 40, '%'),
    atMost(`${linear.method}, ResNet: points lost after fine-tuning`, lost(linear), 1.5, ''),
    atMost('FOLDER, ViT, half of the tokens: points lost', lost(folder), 1.5, ''),
  ]
}

function methodTable(results: readonly MethodResult[], network: Method['network']): string[] {
  const own = results.filter((each) => each.network === network)
  const { before } = own[0]!
  const ms = (time: ModelTime | undefined): string =>
    time === undefined ? '-' : `${time.medianMs.toFixed(2)} (${time.p10Ms.toFixed(2)} to ${time.p90Ms.toFixed(2)})`
  const sizes = (m: Measured): string =>
    `${m.depth} / ${m.rectifiers} | ${(m.macs / 1e6).toFixed(1)} | ${(m.parameters / 1e3).toFixed(0)} | ${(m.bytes / 1e3).toFixed(0)} / ${(m.deflatedBytes / 1e3).toFixed(0)}`
  return [
    `### ${network}`,
    '',
    '| method | accuracy before / after surgery / after fine-tune, % | layers / activations | MMAC | k parameters | KB / deflated | wasm ms, median (p10 to p90) | of before | native ms | of before | mJ, modelled | in the paper |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|',
    `| as trained | ${before.accuracyPct.toFixed(1)} | ${sizes(before)} | ${ms(before.wasm)} | 1 | ${ms(before.native)} | 1 | ${before.millijoules.toFixed(1)} | |`,
    ...own.map(({ method, surgeryPct, after, paper }) => {
      const surgery = surgeryPct === null ? '-' : surgeryPct.toFixed(1)
      const healed = METHODS.find((each) => each.name === method && each.network === network)!.healed
      const final = healed === undefined ? '-' : after.accuracyPct.toFixed(1)
      return `| ${method} | ${before.accuracyPct.toFixed(1)} / ${surgery} / ${final} | ${sizes(after)} | ${ms(after.wasm)} | ${after.wasm.ratio.toFixed(2)} | ${ms(after.native)} | ${after.native?.ratio.toFixed(2) ?? '-'} | ${after.millijoules.toFixed(1)} | ${paper} |`
    }),
    '',
  ]
}

const thirdPartyTable = (results: readonly ThirdPartyResult[], verdicts: ReadonlyMap<string, string>): string[] => [
  '## Models that others trained',
  '',
  '| model | pass | result | ONNX checker |',
  '|---|---|---|---|',
  ...results.map(
    ({ model, pass, outcome, text, out }) =>
      `| ${model} | ${pass} | ${outcome === 'done' ? text : `refused: ${text}`} | ${out === undefined ? '' : (verdicts.get(out) ?? '-')} |`,
  ),
  '',
]

/**
 * Every method of the forge on our classifiers and on models that others trained.
 *
 * @param folders.classifiers What forge/training/README.md makes; without it only the models of others are measured.
 */
export async function benchForge({
  dataDir,
  classifiers,
}: {
  dataDir: string
  classifiers: string
}): Promise<Findings> {
  const work = await mkdtemp(join(tmpdir(), 'espalier-bench-forge-'))
  try {
    const missing = missingModels(classifiers)
    if (missing.length > 0)
      process.stderr.write(
        `SKIPPED our classifiers: forge/training/runs/classifiers lacks ${missing.join(', ')}; forge/training/README.md tells how to make them\n`,
      )
    const results = missing.length > 0 ? [] : await measureMethods(classifiers, work, dataDir)
    const thirdParty = await runThirdParty(dataDir, work)
    const made = [
      ...new Set([
        ...thirdParty.flatMap(({ out }) => (out === undefined ? [] : [out])),
        ...results.map(({ after }) =>
          join(after.file.startsWith('made/') ? work : classifiers, after.file.replace('made/', '')),
        ),
      ]),
    ]
    const found = await checkOnnx(made)
    const verdicts = new Map(made.map((path, i) => [path, found?.[i] ?? '-']))
    const refusedBy = found?.filter((verdict) => verdict !== 'ok') ?? []
    const checks = [
      ...(results.length === 0 ? [] : checksOf(results)),
      ...(found === undefined
        ? []
        : [atMost(`of ${made.length} models written, refused by the ONNX checker`, refusedBy.length, 0, '')]),
    ]
    const networks = [...new Set(results.map(({ network }) => network))]
    return {
      checks,
      details: { results, thirdParty: thirdParty.map(({ out: _, ...row }) => row), checker: found },
      page: [
        ...(networks.length === 0 ? [] : ['## Method by method', '']),
        ...networks.flatMap((network) => methodTable(results, network)),
        ...thirdPartyTable(thirdParty, verdicts),
      ].join('\n'),
    }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
