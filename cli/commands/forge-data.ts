import type { Graph } from '@espalier/forge/graph/graph'
import { type Dataset, onlyInput, readDataset } from '@espalier/forge/measure/dataset'
import { ConfigError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError } from 'commander'
import { type Common, parseCount } from './forge-pass.ts'

/** Options of what runs a model on pictures. */
export interface WithData extends Common {
  readonly data?: string
  readonly calibration: string
  readonly limit: number
  readonly mean?: readonly number[]
  readonly deviation?: readonly number[]
  readonly bgr?: true
}

/** `0.5,0.5,0.5` */
function parseChannels(text: string): number[] {
  const values = text.split(',').map(Number)
  if (values.length !== 3 || text.split(',').some((each) => each.trim() === '') || !values.every(Number.isFinite))
    throw new InvalidArgumentError('Expected three numbers, as in 0.5,0.5,0.5.')
  return values
}

function parseDeviations(text: string): number[] {
  const values = parseChannels(text)
  if (values.some((value) => value <= 0)) throw new InvalidArgumentError('A deviation is above 0.')
  return values
}

/** Pictures as the options say that the model takes them. @throws {ConfigError} If no folder is given. */
export const readCalibration = (graph: Graph, options: WithData, prefix: string): Promise<Dataset> => {
  const { data, shape, limit, mean, deviation, bgr } = options
  if (data === undefined) throw new ConfigError('Cannot calibrate: give a folder of pictures with --data')
  return readDataset(data, onlyInput(graph, shape), {
    prefix,
    limit,
    isBgr: bgr === true,
    ...(mean && { mean }),
    ...(deviation && { deviation }),
  })
}

export const withData = (command: Command): Command =>
  command
    .option('--data <folder>', 'pictures, or sheets of them with labels (docs/forge.md)')
    .option('--calibration <prefix>', 'files to calibrate with; "" is all of them', 'train')
    .option('--limit <n>', 'pictures to calibrate with', parseCount, 256)
    .option(
      '--mean <r,g,b>',
      "what is taken from values of 0 to 1, in the model's order of channels; CIFAR-10's unless given",
      parseChannels,
    )
    .option('--deviation <r,g,b>', 'what they are divided by after that', parseDeviations)
    .option('--bgr', 'the model takes blue first')
