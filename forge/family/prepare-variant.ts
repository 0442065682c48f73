import { ConfigError, ModelError } from '@espalier/shared/errors'
import { type Shapes, totalCost } from '../graph/cost.ts'
import { type Graph, Wiring } from '../graph/graph.ts'
import { type InputShape, inputShapes, probeShapes, withShapes } from '../graph/run.ts'
import { sizeOf, TYPE } from '../graph/tensor.ts'
import type { ModelFile } from '../model-file.ts'
import { hoistConstants } from '../passes/fold.ts'
import { type SplitGraph, splitTensors } from './split-tensors.ts'

/** A model as a variant of a family, checked to be a classifier with one input. */
export interface PreparedVariant {
  readonly id: string
  readonly file: ModelFile
  readonly graph: Graph
  readonly split: SplitGraph
  readonly input: InputShape
  readonly output: string
  readonly classes: number
  readonly macs: number
  /** Whether its output comes out of a softmax. */
  readonly isProbability: boolean
  /** Whether it computes in integers: then backends differ by whole steps, not by rounding. */
  readonly isQuantised: boolean
}

const INTEGER_OPERATORS = /^(QLinear|QuantizeLinear|DynamicQuantizeLinear|ConvInteger|MatMulInteger|QGemm)/
/** What may stand between a softmax and the output without changing what the numbers are. */
const TRANSPARENT = new Set(['Cast', 'Identity', 'QuantizeLinear', 'DequantizeLinear', 'Flatten', 'Reshape', 'Squeeze'])

function endsInSoftmax(graph: Graph, output: string): boolean {
  const wiring = new Wiring(graph)
  let node = wiring.producerOf(output)
  while (node !== undefined && TRANSPARENT.has(node.opType)) node = wiring.producerOf(node.inputs[0] ?? '')
  return node?.opType === 'Softmax'
}

/** Whether a model says of an input's dimensions something else than was given. */
function contradicts({ type }: Graph['inputs'][number], given: readonly number[]): boolean {
  const declared = type?.value.case === 'tensorType' ? type.value.value.shape?.dim : undefined
  if (declared === undefined) return false
  const isOther = (i: number): boolean => {
    const { value } = declared[i]!
    return value.case === 'dimValue' && value.value > 0n && Number(value.value) !== given[i]
  }
  return declared.length !== given.length || declared.some((_, i) => isOther(i))
}

/** @param given Dimensions for the input, where the model leaves them open. */
function onlyInputOf(graph: Graph, id: string, given: readonly number[] | undefined): InputShape {
  if (graph.inputs.length !== 1)
    throw new ModelError(
      `Cannot use model "${id}": found ${graph.inputs.length} inputs (${graph.inputs.map(({ name }) => name)}), expected 1`,
    )
  const { name } = graph.inputs[0]!
  if (given !== undefined && contradicts(graph.inputs[0]!, given))
    throw new ModelError(
      `Cannot use model "${id}": input "${name}" has dimensions of its own, found ${given.join(' x ')} given for it`,
    )
  const input = inputShapes(graph, given === undefined ? undefined : new Map([[name, given]]))[0]!
  if (input.type !== TYPE.FLOAT || input.dims.length !== 4 || input.dims[0] !== 1)
    throw new ModelError(
      `Cannot use model "${id}": input "${name}" is ${input.dims.join(' x ')} of element type ${input.type}, expected four dimensions of float32, the first 1`,
    )
  return input
}

function classesOf(shapes: Shapes, output: string, id: string): number {
  const dims = shapes.get(output) ?? []
  const classes = sizeOf(dims)
  if (dims.length === 0 || dims.filter((dim) => dim !== 1).length > 1)
    throw new ModelError(
      `Cannot use model "${id}": output "${output}" is ${dims.join(' x ') || 'a single number'}, expected one number a class`,
    )
  return classes
}

/**
 * Make a model's file ready for a family: constants as initializers, dimensions written out, large tensors apart.
 *
 * @param given Dimensions for the input, where the model leaves them open.
 * @throws {ModelError} If it is no classifier with one float input. @throws {ConfigError} If the id is none.
 */
export async function prepareVariant(
  id: string,
  file: ModelFile,
  given: readonly number[] | undefined,
): Promise<PreparedVariant> {
  if (!/^[a-z0-9][a-z0-9.-]{0,62}$/.test(id))
    throw new ConfigError(`Cannot name variant "${id}": expected a-z, 0-9, "." and "-"; give names with --ids`)
  const hoisted = hoistConstants(file.graph)
  const input = onlyInputOf(hoisted, id, given)
  const graph = withShapes(hoisted, [input])
  const shapes = await probeShapes(graph, id)
  const output = graph.outputs[0]!.name
  return {
    id,
    file,
    graph,
    split: splitTensors(graph),
    input,
    output,
    classes: classesOf(shapes, output, id),
    macs: totalCost(graph, shapes).macs,
    isProbability: endsInSoftmax(graph, output),
    isQuantised: graph.nodes.some(({ opType }) => INTEGER_OPERATORS.test(opType)),
  }
}
