import { clone, create } from '@bufbuild/protobuf'
import { describeError, ModelError } from '@espalier/shared/errors'
import * as ort from 'onnxruntime-web'
import { describeNode } from './attributes.ts'
import type { Graph, Node } from './graph.ts'
import { TypeProtoSchema, type ValueInfoProto, ValueInfoProtoSchema } from './onnx_pb.ts'
import { fromHalf, sizeOf, TYPE, toHalf } from './tensor.ts'
import { writeModel } from './write.ts'

/** Numbers with a shape, of any of ONNX's types that JavaScript has. */
export interface Values {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array
}

/** The numbers of float16 as JavaScript has them, which some versions lack as an array type; all others as they are. */
export const toNumbers = ({ type, data }: Values): ArrayLike<number> | BigInt64Array =>
  type === 'float16' && data instanceof Uint16Array ? Float32Array.from(data, fromHalf) : data

/** A graph on onnxruntime-web, without the runtime's own fusions unless asked for. */
export interface Runner {
  run(feeds: Readonly<Record<string, Values>>): Promise<Record<string, Values>>
  close(): Promise<void>
}

/** What an input takes, with the dimensions that a model leaves open filled in. */
export interface InputShape {
  readonly name: string
  readonly type: number
  readonly dims: readonly number[]
}

/** More numbers than this in one input are a slip, or malice: 1 GiB of float32. */
const MAX_INPUT = 2 ** 28

/**
 * The shapes to run a graph at: as the model says; an open first dimension, the batch, is 1 unless given.
 *
 * @param given Input name -> dimensions. @throws {ModelError} If an input is no tensor, is too large, or another
 *   dimension is open.
 */
export function inputShapes(graph: Graph, given: ReadonlyMap<string, readonly number[]> = new Map()): InputShape[] {
  const shapes = openShapes(graph, given)
  for (const { name, dims } of shapes)
    if (!(sizeOf(dims) <= MAX_INPUT))
      throw new ModelError(
        `Cannot run model: input "${name}" is ${dims.join(' x ')}, expected ${MAX_INPUT} numbers at most`,
      )
  return shapes
}

function openShapes(graph: Graph, given: ReadonlyMap<string, readonly number[]>): InputShape[] {
  return graph.inputs.map(({ name, type }) => {
    if (type?.value.case !== 'tensorType') throw new ModelError(`Cannot run model: input "${name}" is no tensor`)
    const { elemType, shape } = type.value.value
    if (given.has(name)) return { name, type: elemType, dims: given.get(name)! }
    if (shape === undefined) throw new ModelError(`Cannot run model: input "${name}" has no shape; give one`)
    const dims = shape.dim.map(({ value }, i) => {
      if (value.case === 'dimValue' && Number(value.value) > 0) return Number(value.value)
      if (i === 0) return 1
      const known = shape.dim.map((dim) =>
        dim.value.case === 'dimValue' && dim.value.value > 0n ? dim.value.value : '?',
      )
      throw new ModelError(
        `Cannot run model: input "${name}" is ${known.join(' x ')} with open dimensions; give them all, as in --shape ${name}=1x3x32x32`,
      )
    })
    return { name, type: elemType, dims }
  })
}

const ORT_TYPES: Readonly<Record<number, string>> = {
  [TYPE.FLOAT]: 'float32',
  [TYPE.INT64]: 'int64',
  [TYPE.INT32]: 'int32',
  [TYPE.UINT8]: 'uint8',
  [TYPE.INT8]: 'int8',
  [TYPE.BOOL]: 'bool',
  [TYPE.FLOAT16]: 'float16',
  [TYPE.DOUBLE]: 'float64',
}

/** Random inputs that are the same for the same seed: normal-ish in [-2, 2] for floats, zero for whole numbers. */
export function randomFeeds(inputs: readonly InputShape[], seed = 1): Record<string, Values> {
  let state = seed >>> 0 || 1
  const next = (): number => {
    // xorshift32 (Marsaglia 2003).
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
  return Object.fromEntries(
    inputs.map(({ name, type, dims }) => {
      const size = dims.reduce((product, dim) => product * dim, 1)
      const ortType = ORT_TYPES[type]
      if (ortType === undefined) throw new ModelError(`Cannot run model: input "${name}" has element type ${type}`)
      if (ortType === 'int64') return [name, { type: ortType, dims, data: new BigInt64Array(size) }]
      if (ortType === 'int8') return [name, { type: ortType, dims, data: new Int8Array(size) }]
      if (ortType === 'int32') return [name, { type: ortType, dims, data: new Int32Array(size) }]
      const spread = (): number => next() + next() + next() + next() - 2
      if (ortType === 'float16')
        return [name, { type: ortType, dims, data: Uint16Array.from({ length: size }, () => toHalf(spread())) }]
      if (ortType === 'float64')
        return [name, { type: ortType, dims, data: Float64Array.from({ length: size }, spread) }]
      if (ortType !== 'float32') return [name, { type: ortType, dims, data: new Uint8Array(size) }]
      return [name, { type: ortType, dims, data: Float32Array.from({ length: size }, spread) }]
    }),
  )
}

const isNamed = (message: string, { name }: Node): boolean =>
  name !== '' && [`'${name}'`, `"${name}"`, `(${name})`, `:${name} `].some((form) => message.includes(form))

const openSession = (graph: Graph, isOptimised = false): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(writeModel(graph), {
    executionProviders: ['wasm'],
    graphOptimizationLevel: isOptimised ? 'all' : 'disabled',
    logSeverityLevel: 4,
  })

/** The first node with which a graph that the runtime refuses is refused: its messages on shapes name none. */
async function findCulprit(graph: Graph): Promise<Node | undefined> {
  let [from, to] = [0, graph.nodes.length - 1]
  while (from < to) {
    const middle = (from + to) >> 1
    const nodes = graph.nodes.slice(0, middle + 1)
    const outputs = nodes.at(-1)!.outputs.filter((output) => output !== '')
    const isFine = await openSession({
      ...graph,
      nodes,
      outputs: outputs.map((output) => create(ValueInfoProtoSchema, { name: output })),
    }).then(
      (session) => session.release().then(() => true),
      () => false,
    )
    if (isFine) from = middle + 1
    else to = middle
  }
  return graph.nodes[from]
}

/** @throws {ModelError} If the runtime refuses the graph; the message names the node. */
export async function openRunner(
  graph: Graph,
  name: string,
  options: { outputs?: readonly string[]; optimise?: boolean } = {},
): Promise<Runner> {
  const wanted = options.outputs
  const outputs: ValueInfoProto[] | undefined = wanted?.map((output) => create(ValueInfoProtoSchema, { name: output }))
  const whole = outputs === undefined ? graph : { ...graph, outputs }
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = 'fatal'
  const session = await openSession(whole, options.optimise).catch(async (cause: unknown) => {
    const message = describeError(cause)
    const culprit = graph.nodes.some((node) => isNamed(message, node)) ? undefined : await findCulprit(graph)
    const where = culprit === undefined ? '' : `${describeNode(culprit)}: `
    throw new ModelError(`Cannot run model "${name}": ${where}${message}`, { cause })
  })
  return {
    async run(feeds) {
      try {
        const tensors = Object.fromEntries(
          Object.entries(feeds).map(([key, { type, data, dims }]) => [
            key,
            new ort.Tensor(type as 'float32', data as Float32Array, dims),
          ]),
        )
        return (await session.run(tensors)) as unknown as Record<string, Values>
      } catch (cause) {
        throw new ModelError(`Cannot run model "${name}": ${describeError(cause)}`, { cause })
      }
    },
    async close() {
      // A runtime that has failed may fail to let go, too; what it failed with has been said already.
      await session.release().catch(() => undefined)
    },
  }
}

/**
 * The shapes of all values, found by running the graph once on zeros: inference that cannot differ from the runtime's.
 *
 * @returns Value name -> dimensions; initializers included.
 */
export async function probeShapes(
  graph: Graph,
  name: string,
  given?: ReadonlyMap<string, readonly number[]>,
): Promise<Map<string, readonly number[]>> {
  const inputs = inputShapes(graph, given)
  const values = graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== ''))
  const runner = await openRunner(graph, name, { outputs: values })
  try {
    const found = await runner.run(randomFeeds(inputs))
    return new Map([
      ...inputs.map(({ name: input, dims }) => [input, dims] as const),
      ...[...graph.initializers].map(([key, { dims }]) => [key, dims] as const),
      ...Object.entries(found).map(([key, { dims }]) => [key, dims] as const),
    ])
  } finally {
    await runner.close()
  }
}

/** The same graph with every input's dimensions written out: passes that count places need them. */
export function withShapes(graph: Graph, inputs: readonly InputShape[]): Graph {
  return {
    ...graph,
    inputs: graph.inputs.map((input) => {
      const dims = inputs.find(({ name }) => name === input.name)?.dims
      const type = input.type === undefined ? undefined : clone(TypeProtoSchema, input.type)
      if (dims === undefined || type?.value.case !== 'tensorType' || type.value.value.shape === undefined) return input
      for (const [i, dim] of type.value.value.shape.dim.entries())
        dim.value = { case: 'dimValue', value: BigInt(dims[i]!) }
      return { ...input, type }
    }),
  }
}
