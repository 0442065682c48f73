import { basename } from 'node:path'
import {
  ADAPTER_TYPES,
  type AdapterFile,
  type AdapterType,
  openAdapterFile,
  roundAdapter,
  saveAdapterFile,
} from '@espalier/forge/adapter/adapter-file'
import { convertPairs } from '@espalier/forge/adapter/convert'
import { extractAdapter } from '@espalier/forge/adapter/extract'
import { mergeAdapter } from '@espalier/forge/adapter/merge'
import { type Adapter, countNumbers } from '@espalier/forge/adapter/pair'
import { findSeries } from '@espalier/forge/adapter/series'
import { sliceAdapters } from '@espalier/forge/adapter/slice'
import { truncateAdapter } from '@espalier/forge/adapter/truncate'
import type { Graph } from '@espalier/forge/graph/graph'
import { type InputShape, inputShapes } from '@espalier/forge/graph/run'
import { type ModelFile, openModelFile } from '@espalier/forge/model-file'
import { ADAPTER_MODES, type AdapterMode, applyAdapter } from '@espalier/forge/passes/adapter'
import { hoistConstants } from '@espalier/forge/passes/fold'
import { verify } from '@espalier/forge/passes/verify'
import { ConfigError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { convertTable, extractTable, sliceTable, truncateTable } from './adapter-tables.ts'
import { type Common, parseCount, parseNumber, passCommand, runPass } from './forge-pass.ts'

/** Of a fine-tuned model, where nothing else says how much to keep: the rank of ALICE's adapters (Spadaro et al. 2024). */
const DEFAULT_RANK = 8

interface AdapterCommand extends Common {
  readonly pairs?: string
  readonly from?: string
  readonly rank?: number
  readonly energy?: number
  readonly truncate?: number
  readonly slice?: number
  readonly sliceTo?: number
  readonly mode: AdapterMode
  readonly alpha?: number | 'input'
  readonly save?: string
  readonly dtype: AdapterType
  readonly partial?: true
  readonly otherBase?: true
}

const scientific = (value: number): string => value.toExponential(1)

function parseWholeShare(text: string): number {
  const value = Number(text)
  if (text === '' || !(value >= 0 && value <= 1)) throw new InvalidArgumentError('A share is a number from 0 to 1.')
  return value
}

function parseAlpha(text: string): number | 'input' {
  return text === 'input' ? text : parseNumber(text)
}

/** Pairs as they were given or found, before anything is taken from them. */
interface Source {
  readonly adapter: Adapter
  readonly report: Readonly<Record<string, unknown>>
  readonly text: readonly string[]
}

/** @throws {ConfigError} If the pairs were stored for another model, unless that is allowed. */
function checkBase({ base, path }: AdapterFile, model: ModelFile, isAllowed: boolean): void {
  if (base !== undefined && base !== model.digest && !isAllowed)
    throw new ConfigError(
      `Cannot adapt "${model.path}": found pairs in "${path}" that were stored for the model ${base}, expected ${model.digest}; give --other-base to use them all the same`,
    )
}

async function convert(graph: Graph, model: ModelFile, path: string, options: AdapterCommand): Promise<Source> {
  const file = await openAdapterFile(path)
  checkBase(file, model, options.otherBase === true)
  const { adapter, report } = convertPairs(graph, file.tensors, {
    isPartial: options.partial === true,
    ...(file.scaleOf && { scaleOf: file.scaleOf }),
  })
  return { adapter, report: { source: 'pairs', ...report }, text: convertTable(report) }
}

async function extract(
  graph: Graph,
  path: string,
  { rank, energy, truncate }: AdapterCommand,
  inputs: readonly InputShape[],
): Promise<Source> {
  const tuned = hoistConstants((await openModelFile(path)).graph)
  const isLimited = rank !== undefined || energy !== undefined || truncate !== undefined
  const limits = isLimited ? { ...(rank && { rank }), ...(energy !== undefined && { energy }) } : { rank: DEFAULT_RANK }
  const { adapter, report } = extractAdapter(graph, tuned, limits)
  const names = { original: tuned.outputs.map(({ name }) => name), made: graph.outputs.map(({ name }) => name) }
  const isComparable =
    names.original.join() === names.made.join() && tuned.inputs.every(({ name }, i) => name === graph.inputs[i]!.name)
  // Values in between may be called otherwise; of outputs the caller reads the name.
  const { outputs } = isComparable
    ? await verify(tuned, mergeAdapter(graph, adapter, 1), inputs, { name: path, withInner: false })
    : { outputs: null }
  const text =
    outputs === null
      ? []
      : [`merged at alpha 1 and tuned differ by ${scientific(outputs.relative)} of the largest output`]
  return {
    adapter,
    report: { source: 'tuned', ...report, mergedVersusTuned: outputs },
    text: [...extractTable(report), ...text],
  }
}

const noAdapter = (input: string, graph: Graph): ConfigError => {
  const found = findSeries(graph).length
  return new ConfigError(
    found === 0
      ? `Cannot adapt "${input}": found neither --pairs nor --from, and no adapter in series in the model (h + up(act(down h)) of MatMul or Gemm without bias); expected --pairs lora.safetensors, or --from tuned.onnx to take the difference of a fine-tuned model as an adapter`
      : `Cannot adapt "${input}": found ${found} adapters in series but nothing to do with them; expected --slice 0.5 to keep the best half of their neurons, or --pairs or --from for others`,
  )
}

/** @throws {ConfigError} If options contradict each other or the model has nothing that they act on. */
function checkOptions(input: string, options: AdapterCommand, graph: Graph): void {
  const hasPairs = options.pairs !== undefined || options.from !== undefined
  const hasSlice = options.slice !== undefined || options.sliceTo !== undefined
  if (!hasPairs && !(hasSlice && findSeries(graph).length > 0)) throw noAdapter(input, graph)
  const needsPairs = (['rank', 'energy', 'truncate', 'save', 'alpha'] as const).find(
    (key) => options[key] !== undefined,
  )
  if (!hasPairs && (needsPairs !== undefined || options.mode === 'live'))
    throw new ConfigError(
      `Cannot adapt "${input}": found --${needsPairs ?? 'mode live'} without pairs, expected --pairs or --from with it`,
    )
  if (options.mode === 'merged' && options.alpha === 'input')
    throw new ConfigError(`Cannot adapt "${input}": found --alpha input, expected --mode live with it`)
}

const sourceOf = (
  graph: Graph,
  model: ModelFile,
  options: AdapterCommand,
  inputs: readonly InputShape[],
): Promise<Source> => {
  if (options.pairs !== undefined) return convert(graph, model, options.pairs, options)
  if (options.from !== undefined) return extract(graph, options.from, options, inputs)
  return Promise.resolve({ adapter: [], report: { source: 'series' }, text: [] })
}

/** Lower ranks, then keep the best neurons, whichever are asked for. What was extracted has its own limits already. */
function shrink(
  graph: Graph,
  before: Adapter,
  { from, rank, energy, truncate, slice, sliceTo }: AdapterCommand,
): Source & { readonly graph: Graph } {
  const ownLimits = from === undefined ? { ...(rank && { rank }), ...(energy !== undefined && { energy }) } : {}
  const limits = { ...ownLimits, ...(truncate !== undefined && { share: truncate }) }
  const truncated = before.length > 0 && Object.keys(limits).length > 0 ? truncateAdapter(before, limits) : undefined
  const adapter = truncated?.adapter ?? before
  const keep = sliceTo !== undefined ? { count: sliceTo } : slice !== undefined ? { share: slice } : undefined
  const sliced = keep && sliceAdapters(graph, adapter, keep)
  return {
    graph: sliced?.graph ?? graph,
    adapter: sliced?.adapter ?? adapter,
    report: { ...(truncated && { truncated: truncated.report }), ...(sliced && { sliced: sliced.report }) },
    text: [...(truncated ? truncateTable(truncated.report) : []), ...(sliced ? sliceTable(sliced.report) : [])],
  }
}

async function runAdapter(input: string, options: AdapterCommand): Promise<void> {
  const { pairs, from, rank, energy, truncate, slice, sliceTo, mode, save, dtype } = options
  const alpha = options.alpha ?? (mode === 'live' ? 'input' : 1)
  // In the model's history a file is its name: where it lies is nobody else's concern.
  const files = { ...(pairs && { pairs: basename(pairs) }), ...(from && { from: basename(from) }) }
  const parameters = { ...files, rank, energy, truncate, slice, sliceTo, mode, alpha, ...(save && { dtype }) }
  await runPass('adapter', input, options, parameters, async (model) => {
    const base = hoistConstants(model.graph)
    checkOptions(input, options, base)
    const inputs = inputShapes(base, options.shape)
    const source = await sourceOf(base, model, options, inputs)
    const { graph, adapter: shrunk, ...made } = shrink(base, source.adapter, options)
    const report = { ...source.report, ...made.report }
    const text = [...source.text, ...made.text]
    if (source.adapter.length === 0) return { graph, report, text }
    // What is stored and what is written into the model are one adapter.
    const adapter = save === undefined ? shrunk : roundAdapter(shrunk, dtype)
    const { graph: applied, ...checked } = await applyAdapter(graph, adapter, { mode, alpha, inputs, name: input })
    const size = { pairs: adapter.length, numbers: countNumbers(adapter) }
    const bytes = save && (await saveAdapterFile(save, adapter, { base: model.digest, type: dtype }))
    return {
      graph: applied,
      report: { ...report, mode, alpha, ...size, ...(save && { saved: { path: save, bytes } }), ...checked },
      text: [
        ...text,
        `${mode}, alpha ${alpha === 'input' ? `the input "${checked.alphaInput}"` : alpha}: ${size.pairs} pairs of ${size.numbers} numbers${save ? `, ${bytes} bytes in ${save}` : ''}`,
        `merged and live differ by ${scientific(checked.mergedVersusLive.relative)} of the largest output at most`,
      ],
    }
  })
}

const EXAMPLES = `
An adapter is a low-rank update of weights: weight + alpha * up * down. Alpha 0 is the base, 1 what was trained.

  A LoRA into the weights           espalier forge adapter base.onnx --pairs lora.safetensors -o tuned.onnx
  half of it                        espalier forge adapter base.onnx --pairs lora.safetensors --alpha 0.5 -o half.onnx
  beside them, alpha an input       espalier forge adapter base.onnx --pairs lora.safetensors --mode live -o live.onnx
  a fine-tuned model as an adapter  espalier forge adapter base.onnx --from tuned.onnx --rank 4 --save pairs.safetensors
  a smaller one                     espalier forge adapter base.onnx --pairs pairs.safetensors --truncate 0.5 --save small.safetensors
  adapters in series, halved        espalier forge adapter mimi.onnx --slice 0.5 -o sliced.onnx

Merged and live are both run on random inputs, and nothing is written where they differ by more than 0.001.`

export function registerForgeAdapter(forge: Command): void {
  passCommand(
    forge,
    'adapter',
    'low-rank updates of weights: convert, extract, shrink; merged into them or beside them',
  )
    .addOption(
      new Option('--pairs <file.safetensors>', 'low-rank pairs: PEFT, kohya, or stored by --save').conflicts('from'),
    )
    .option('--from <tuned.onnx>', 'a model fine-tuned from this one: its difference is the adapter')
    .option('--rank <n>', `at most this rank of each pair (${DEFAULT_RANK} of --from if nothing limits it)`, parseCount)
    .option('--energy <share>', 'as low ranks as hold this share of the sum of squares', parseWholeShare)
    .option(
      '--truncate <share>',
      'at most this share of the numbers, spent where singular values are largest',
      parseWholeShare,
    )
    .addOption(
      new Option(
        '--slice <share>',
        'keep this share of the neurons of all adapters together, those in series included (MiMi)',
      )
        .argParser(parseWholeShare)
        .conflicts('sliceTo'),
    )
    .option('--slice-to <n>', 'keep so many', parseCount)
    .addOption(
      new Option('--mode <m>', 'into the weights, or as a branch beside them').choices(ADAPTER_MODES).default('merged'),
    )
    .option(
      '--alpha <a>',
      'scale: any number, or of live "input", an input of the graph (default: 1 merged, input live)',
      parseAlpha,
    )
    .option('--save <file.safetensors>', 'store the pairs, with the digest of this model')
    .addOption(new Option('--dtype <t>', 'of the pairs that are stored').choices(ADAPTER_TYPES).default('float16'))
    .option('--partial', 'leave out pairs that match no weight instead of refusing')
    .option('--other-base', 'use pairs that were stored for another model')
    .addHelpText('after', EXAMPLES)
    .action(runAdapter)
}
