import { type Cost, type Shapes, totalCost } from '@espalier/forge/graph/cost'
import type { Graph } from '@espalier/forge/graph/graph'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { TYPE } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { type ModelFile, openModelFile, saveModelFile } from '@espalier/forge/model-file'
import { type FoldReport, fold, hoistConstants } from '@espalier/forge/passes/fold'
import { type Verification, verify } from '@espalier/forge/passes/verify'
import { ConfigError, IntegrityError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { kilo } from './forge-tables.ts'

/** `image=1x3x32x32`, once for each input that leaves its dimensions open. */
export function parseShape(text: string, before: ReadonlyMap<string, number[]> = new Map()): Map<string, number[]> {
  const found = /^(.+)=([1-9]\d*(?:x[1-9]\d*)*)$/.exec(text)
  if (found === null) throw new InvalidArgumentError('A shape reads name=1x3x32x32.')
  return new Map([...before, [found[1]!, found[2]!.split('x').map(Number)]])
}

export function parseCount(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A count is a whole number from 1.')
  return value
}

export function parseNumber(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.')
  return value
}

export interface Common {
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

/** What a pass made. */
export interface PassOutcome {
  readonly graph: Graph
  readonly report: unknown
  /** The report in words, for a reader; without it JSON has to do. */
  readonly text?: readonly string[]
}

export const sizeOf = (graph: Graph, shapes: Shapes, bytes: number): Size => ({
  nodes: graph.nodes.length,
  bytes,
  ...totalCost(graph, shapes),
})

export { kilo } from './forge-tables.ts'

function printResult({ pass, before, after, verification, report }: PassResult, text?: readonly string[]): void {
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
      ...(text ?? [JSON.stringify(report, undefined, 2)]),
    ].join('\n')}\n`,
  )
}

/** @throws {ConfigError} If a shape is given for what is no input of the model. */
export function checkShapes(graph: Graph, shapes: ReadonlyMap<string, readonly number[]> = new Map()): void {
  const names = graph.inputs.map(({ name }) => name)
  for (const name of shapes.keys())
    if (!names.includes(name))
      throw new ConfigError(
        `Cannot take --shape "${name}": the model has ${names.map((each) => `"${each}"`).join(', ') || 'no inputs'}`,
      )
}

/** Largest difference that an exact pass may make, over the largest output: half floats have eleven bits. */
const toleranceOf = (graph: Graph): number =>
  [...graph.initializers.values()].some(({ type }) => type === TYPE.FLOAT16) ? 1e-2 : 1e-3

function requireSame({ outputs }: Verification, graph: Graph, action: string): void {
  const tolerance = toleranceOf(graph)
  if (!(outputs.relative < tolerance))
    throw new IntegrityError(
      `Cannot ${action}: found a difference of ${outputs.relative.toExponential(1)} at "${outputs.value}", expected less than ${tolerance}; nothing was written`,
    )
}

/** Fold what another pass has left in a row, and hold it against that. @throws {IntegrityError} If outputs differ. */
export async function foldAfter(
  graph: Graph,
  probe: (graph: Graph) => Promise<Shapes>,
  { name, shape }: { name: string; shape: Common['shape'] },
): Promise<{ graph: Graph; report: FoldReport }> {
  const folded = fold(graph, await probe(graph))
  const found = await verify(graph, folded.graph, inputShapes(graph, shape), { runs: 1, name, withInner: false })
  requireSame(found, graph, `fold "${name}"`)
  return folded
}

/** Everything that a pass needs and ends with, around what it does. */
export async function runPass(
  pass: string,
  input: string,
  options: Common,
  parameters: Record<string, unknown>,
  work: (file: ModelFile, probe: (graph: Graph) => Promise<Shapes>) => Promise<PassOutcome>,
  isExact: (report: unknown) => boolean = () => false,
): Promise<void> {
  const file = await openModelFile(input)
  checkShapes(file.graph, options.shape)
  const probe = (graph: Graph): Promise<Shapes> => probeShapes(graph, input, options.shape)
  const original = hoistConstants(file.graph)
  const shapes = await probe(original)
  const { graph, report, text } = await work(file, probe)
  const verification = isExact(report)
    ? await verify(file.graph, graph, inputShapes(file.graph, options.shape), { name: input })
    : undefined
  if (verification !== undefined) requireSame(verification, file.graph, `${pass} "${input}"`)
  const after = await probe(graph)
  const bytes =
    options.out === undefined
      ? writeModel(graph).length
      : await saveModelFile(options.out, graph, { pass, parameters, from: file.digest })
  const result: PassResult = {
    pass,
    before: sizeOf(original, shapes, file.bytes),
    after: sizeOf(graph, after, bytes),
    ...(verification === undefined ? {} : { verification }),
    report,
  }
  if (options.json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
  else printResult(result, text)
}

export const shapeOption = (): Option =>
  new Option('--shape <name=1x3x32x32>', 'dimensions of an input that leaves them open').argParser(parseShape)

/** A subcommand that makes one model of another, with the options that all have. */
export const passCommand = (forge: Command, name: string, description: string): Command =>
  forge
    .command(name)
    .description(description)
    .argument('<model.onnx>')
    .option('-o, --out <out.onnx>', 'where to write; without it nothing is written')
    .addOption(shapeOption())
    .option('--json', 'print one JSON document')
