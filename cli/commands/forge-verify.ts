import { probeShapes } from '@espalier/forge/graph/run'
import { type Judgement, judge } from '@espalier/forge/measure/dataset'
import { type ModelTime, timeModels, timeModelsIfPossible } from '@espalier/forge/measure/time-models'
import { openModelFile } from '@espalier/forge/model-file'
import { hoistConstants } from '@espalier/forge/passes/fold'
import type { Command } from 'commander'
import { startProgress } from '../progress.ts'
import { readCalibration, type WithData, withData } from './forge-data.ts'
import { kilo, parseCount, shapeOption, sizeOf } from './forge-pass.ts'

interface Options extends WithData {
  readonly heldOut: string
  readonly heldOutLimit: number
}

interface Row extends Partial<Omit<Judgement, 'answers'>> {
  readonly model: string
  readonly macs: number
  readonly bytes: number
  readonly wasm: ModelTime
  readonly native?: ModelTime
}

const describeTime = (name: string, time: ModelTime | undefined): string =>
  time === undefined ? '' : `, ${name} ${time.medianMs.toFixed(2)} ms (${time.ratio.toFixed(2)} of the first)`

function describe(row: Row): string {
  const accuracy = row.accuracyPct == null ? '' : `, ${row.accuracyPct.toFixed(2)} %`
  const agreement = row.agreementPct == null ? '' : `, agrees ${row.agreementPct.toFixed(1)} %`
  return `${row.model}: ${kilo(row.macs)}MAC, ${kilo(row.bytes)}B${describeTime('wasm', row.wasm)}${describeTime('native', row.native)}${accuracy}${agreement}\n`
}

async function runVerify(models: string[], options: Options): Promise<void> {
  const files = await Promise.all(models.map(openModelFile))
  const graphs = files.map(({ graph }) => hoistConstants(graph))
  const progress = startProgress('timing')
  const timing = { shape: options.shape, onProgress: progress.update }
  const wasm = await timeModels(graphs, { ...timing, backend: 'wasm' })
  const native = await timeModelsIfPossible(graphs, { ...timing, backend: 'native' })
  progress.stop()
  const dataset =
    options.data === undefined
      ? undefined
      : await readCalibration(graphs[0]!, { ...options, limit: options.heldOutLimit }, options.heldOut)
  const rows: Row[] = []
  let first: readonly number[] | undefined
  for (const [i, graph] of graphs.entries()) {
    const judged = dataset && (await judge(graph, dataset, first === undefined ? {} : { answers: first }))
    first ??= judged?.answers
    const { answers: _, ...judgement } = judged ?? { answers: [] }
    const size = sizeOf(graph, await probeShapes(graph, models[i]!, options.shape), files[i]!.bytes)
    rows.push({ model: models[i]!, ...size, wasm: wasm[i]!, ...(native && { native: native[i]! }), ...judgement })
  }
  process.stdout.write(options.json ? `${JSON.stringify(rows, undefined, 2)}\n` : rows.map(describe).join(''))
}

/** `espalier forge verify`. */
export function registerForgeVerify(forge: Command): void {
  withData(
    forge
      .command('verify')
      .description('judge models side by side: accuracy, agreement with the first, cost and time')
      .argument('<models...>')
      .addOption(shapeOption())
      .option('--json', 'print one JSON document'),
  )
    .option('--held-out <prefix>', 'files to judge by', 'test')
    .option('--held-out-limit <n>', 'pictures to judge by', parseCount, 10_000)
    .action(runVerify)
}
