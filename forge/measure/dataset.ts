import { ConfigError } from '@espalier/shared/errors'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { Graph } from '../graph/graph.ts'
import { type InputShape, inputShapes, type Values } from '../graph/run.ts'
import { writeModel } from '../graph/write.ts'
import { readPictures } from './pictures.ts'

/** Pictures as a model takes them, and what they show. */
export interface Dataset {
  readonly input: InputShape
  readonly feeds: readonly Values[]
  /** Class numbers; undefined where the folder has none. */
  readonly labels: readonly number[] | undefined
}

export interface DatasetOptions {
  /** By channel, of values in [0, 1]: (value - mean) / deviation. CIFAR-10's unless told otherwise. */
  readonly mean?: readonly number[]
  readonly deviation?: readonly number[]
  /** The model takes blue first; mean and deviation are in its order. */
  readonly isBgr?: boolean
  readonly limit?: number
}

const CIFAR = { mean: [0.4914, 0.4822, 0.4465], deviation: [0.2471, 0.2435, 0.2616] }

/**
 * Read pictures for calibration and judgement, as `readPictures`.
 *
 * @param input What the model takes: [1, 3, height, width]. @param prefix Only files that start with it.
 * @throws {ConfigError} If there is no picture, or the input is not of that form.
 */
export async function readDataset(
  folder: string,
  input: InputShape,
  {
    prefix = '',
    mean = CIFAR.mean,
    deviation = CIFAR.deviation,
    isBgr = false,
    limit = Number.POSITIVE_INFINITY,
  }: DatasetOptions & { prefix?: string } = {},
): Promise<Dataset> {
  const [, channels, height, width] = input.dims
  if (input.dims.length !== 4 || channels !== 3 || height === undefined || width === undefined)
    throw new ConfigError(
      `Cannot feed pictures to "${input.name}": it takes ${input.dims.join(' x ')}, expected N x 3 x H x W`,
    )
  const area = height * width
  const toFeed = (rgb: Uint8Array): Values => {
    const data = new Float32Array(3 * area)
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < area; i++)
        data[c * area + i] = (rgb[3 * i + (isBgr ? 2 - c : c)]! / 255 - mean[c]!) / deviation[c]!
    return { type: 'float32', dims: [1, 3, height, width], data }
  }
  const pictures = await readPictures(folder, { width, height, prefix, limit })
  const labels = pictures.flatMap(({ label }) => (label === undefined ? [] : [label]))
  return {
    input,
    feeds: pictures.map(({ rgb }) => toFeed(rgb)),
    labels: labels.length === pictures.length ? labels : undefined,
  }
}

export interface Judgement {
  readonly pictures: number
  /** Top-1, in per cent; null without labels. */
  readonly accuracyPct: number | null
  /** Mean cross entropy in nats; null without labels. */
  readonly loss: number | null
  /** Share of pictures on which the answer is the one given in `answers`, in per cent. */
  readonly agreementPct: number | null
  readonly answers: readonly number[]
}

function softmaxLoss(logits: Float32Array, label: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const sum = logits.reduce((total, value) => total + Math.exp(value - most), 0)
  return Math.log(sum) + most - logits[label]!
}

/** Pictures in, logits out, on onnxruntime-web or, several times as fast, on onnxruntime-node. */
async function openClassifier(graph: Graph, input: InputShape, backend: 'wasm' | 'native') {
  const output = graph.outputs[0]!.name
  const session = await openSession(writeModel(graph), {
    backend,
    input: input.name,
    output,
    weightInputs: [],
    threads: 1,
    name: 'classifier',
  })
  return {
    run: async (feed: Values) =>
      (await session.run({ type: 'float32', data: feed.data as Float32Array, dims: feed.dims }, new Map())).data,
    close: () => session.close(),
  }
}

/**
 * Run a classifier over a data set, one picture at a time.
 *
 * @param options.answers Of another model, to agree with. @param options.backend `wasm` unless told otherwise.
 * @throws {ConfigError} If this machine lacks the backend.
 */
export async function judge(
  graph: Graph,
  dataset: Dataset,
  {
    answers,
    backend = 'wasm',
    onProgress,
  }: {
    answers?: readonly number[]
    backend?: 'wasm' | 'native'
    onProgress?: (done: number, of: number) => void
  } = {},
): Promise<Judgement> {
  const runner = await openClassifier(graph, dataset.input, backend)
  const given: number[] = []
  let [right, loss, agreed] = [0, 0, 0]
  try {
    for (const [i, feed] of dataset.feeds.entries()) {
      const logits = (await runner.run(feed)) as Float32Array
      const answer = logits.indexOf(logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY))
      given.push(answer)
      if (answer === answers?.[i]) agreed++
      const label = dataset.labels?.[i]
      if (label !== undefined) {
        if (answer === label) right++
        loss += softmaxLoss(logits, label)
      }
      if (i % 50 === 49) onProgress?.(i + 1, dataset.feeds.length)
    }
  } finally {
    await runner.close()
  }
  const n = dataset.feeds.length
  return {
    pictures: n,
    accuracyPct: dataset.labels === undefined ? null : (right / n) * 100,
    loss: dataset.labels === undefined ? null : loss / n,
    agreementPct: answers === undefined ? null : (agreed / n) * 100,
    answers: given,
  }
}

/**
 * The first input of a graph, where it is the one.
 *
 * @param given Input name -> dimensions, where the model leaves them open. @throws {ConfigError} If it has several.
 */
export function onlyInput(graph: Graph, given?: ReadonlyMap<string, readonly number[]>): InputShape {
  const inputs = inputShapes(graph, given)
  if (inputs.length !== 1)
    throw new ConfigError(
      `Cannot feed pictures: the model has ${inputs.length} inputs (${inputs.map(({ name }) => name)}), expected 1`,
    )
  return inputs[0]!
}
