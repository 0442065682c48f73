import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '@espalier/shared/errors'
import sharp from 'sharp'
import type { Graph } from '../graph/graph.ts'
import { type InputShape, inputShapes, openRunner, type Values } from '../graph/run.ts'

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
  readonly limit?: number
}

const CIFAR = { mean: [0.4914, 0.4822, 0.4465], deviation: [0.2471, 0.2435, 0.2616] }

/**
 * Read pictures for calibration and judgement. A folder holds either sheets - `val_00.png`, each row of pixels one picture
 * in reading order, with `val_00.labels.txt` beside it - or pictures of any size, which are resized.
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
    limit = Number.POSITIVE_INFINITY,
  }: DatasetOptions & { prefix?: string } = {},
): Promise<Dataset> {
  const [, channels, height, width] = input.dims
  if (input.dims.length !== 4 || channels !== 3 || height === undefined || width === undefined)
    throw new ConfigError(
      `Cannot feed pictures to "${input.name}": it takes ${input.dims.join(' x ')}, expected N x 3 x H x W`,
    )
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read pictures from "${folder}": ${cause.code}`, { cause })
  })
  const files = names.filter((name) => name.startsWith(prefix) && /\.(png|jpe?g|webp)$/i.test(name)).sort()
  if (files.length === 0)
    throw new ConfigError(`Cannot read pictures from "${folder}": found none that start with "${prefix}"`)
  const area = height * width
  const toFeed = (rgb: Uint8Array): Values => {
    const data = new Float32Array(3 * area)
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < area; i++) data[c * area + i] = (rgb[3 * i + c]! / 255 - mean[c]!) / deviation[c]!
    return { type: 'float32', dims: [1, 3, height, width], data }
  }
  const feeds: Values[] = []
  const labels: number[] = []
  for (const file of files) {
    if (feeds.length >= limit) break
    const labelFile = join(folder, file.replace(/\.\w+$/, '.labels.txt'))
    const listed = await readFile(labelFile, 'utf8').catch(() => undefined)
    const image = sharp(join(folder, file)).removeAlpha().toColourspace('srgb')
    if (listed === undefined) {
      feeds.push(toFeed(await image.resize(width, height, { fit: 'fill' }).raw().toBuffer()))
      continue
    }
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true })
    if (info.width !== area)
      throw new ConfigError(
        `Cannot read sheet "${file}": a row has ${info.width} pixels, expected ${height} x ${width}`,
      )
    const own = listed.trim().split(/\s+/).map(Number)
    for (let row = 0; row < info.height && feeds.length < limit; row++) {
      feeds.push(toFeed(data.subarray(row * area * 3, (row + 1) * area * 3)))
      labels.push(own[row]!)
    }
  }
  return { input, feeds, labels: labels.length === feeds.length ? labels : undefined }
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

/** Run a classifier over a data set, one picture at a time. @param answers Of another model, to agree with. */
export async function judge(
  graph: Graph,
  dataset: Dataset,
  { answers, onProgress }: { answers?: readonly number[]; onProgress?: (done: number, of: number) => void } = {},
): Promise<Judgement> {
  const runner = await openRunner(graph, 'classifier', { optimise: true })
  const output = graph.outputs[0]!.name
  const given: number[] = []
  let [right, loss, agreed] = [0, 0, 0]
  try {
    for (const [i, feed] of dataset.feeds.entries()) {
      const logits = (await runner.run({ [dataset.input.name]: feed }))[output]!.data as Float32Array
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
    accuracyPct: dataset.labels && (right / n) * 100,
    loss: dataset.labels && loss / n,
    agreementPct: answers === undefined ? null : (agreed / n) * 100,
    answers: given,
  } as Judgement
}

/** The first input of a graph, where it is the one. @throws {ConfigError} If it has several. */
export function onlyInput(graph: Graph): InputShape {
  const inputs = inputShapes(graph)
  if (inputs.length !== 1)
    throw new ConfigError(
      `Cannot feed pictures: the model has ${inputs.length} inputs (${inputs.map(({ name }) => name)}), expected 1`,
    )
  return inputs[0]!
}
