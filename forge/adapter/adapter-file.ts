import { readFile, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ConfigError, ModelError } from '@espalier/shared/errors'
import { floatsOf, floatTensor, type Tensor, TYPE } from '../graph/tensor.ts'
import { readSafetensors, type TensorFile, writeSafetensors } from '../safetensors.ts'
import type { Adapter } from './pair.ts'
import { parsePeftConfig } from './peft-config.ts'

/** In the metadata of an adapter that was stored here. */
export const ADAPTER_FORMAT = 'espalier.adapter/1'

export const ADAPTER_TYPES = ['float16', 'float32'] as const
export type AdapterType = (typeof ADAPTER_TYPES)[number]

const TYPES = { float16: TYPE.FLOAT16, float32: TYPE.FLOAT } as const

function round(values: Float64Array, dims: readonly number[], type: AdapterType, weight: string): Tensor {
  const tensor = floatTensor(values, dims, TYPES[type])
  if (!floatsOf(tensor, weight).every(Number.isFinite))
    throw new ModelError(
      `Cannot store the pair of "${weight}": found numbers that ${type} cannot hold, expected all below 65520; store it as float32`,
    )
  return tensor
}

/**
 * An adapter as tensors under PEFT's suffixes: `<weight>.lora_A.weight` [rank, inputs] is down and `.lora_B.weight`
 * [outputs, rank] up, the trained strength multiplied in.
 *
 * @param base SHA-256 of the model file that it is for. @throws {ModelError} If a number does not fit the type.
 */
export function toTensorFile(adapter: Adapter, { base, type }: { base: string; type: AdapterType }): TensorFile {
  return {
    metadata: { format: ADAPTER_FORMAT, base },
    tensors: new Map(
      adapter.flatMap(({ weight, outputs, inputs, rank, up, down }) => [
        [`${weight}.lora_A.weight`, round(down, [rank, inputs], type, weight)] as const,
        [`${weight}.lora_B.weight`, round(up, [outputs, rank], type, weight)] as const,
      ]),
    ),
  }
}

/** The adapter that will be read back from one stored so. @throws {ModelError} As `toTensorFile`. */
export const roundAdapter = (adapter: Adapter, type: AdapterType): Adapter =>
  adapter.map((pair) => ({
    ...pair,
    up: floatsOf(round(pair.up, [pair.up.length], type, pair.weight), pair.weight),
    down: floatsOf(round(pair.down, [pair.down.length], type, pair.weight), pair.weight),
  }))

export interface AdapterFile extends TensorFile {
  readonly path: string
  /** SHA-256 of the model that it was stored for; undefined for files of others. */
  readonly base: string | undefined
  /** From PEFT's configuration beside it. */
  readonly scaleOf: ((module: string, rank: number) => number) | undefined
}

const readIfThere = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined
    throw new ConfigError(`Cannot read "${path}": ${cause.code}`, { cause })
  })

/** @throws {ConfigError} If the file cannot be read. @throws {ModelError} If it is no .safetensors. */
export async function openAdapterFile(path: string): Promise<AdapterFile> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read adapter "${path}": ${cause.code}`, { cause })
  })
  const file = readSafetensors(bytes, basename(path))
  const isOurs = file.metadata.format === ADAPTER_FORMAT
  const beside = join(dirname(path), 'adapter_config.json')
  // Files of others share a folder with the configuration they were saved with; ours have the scale in them.
  const isPeft = !isOurs && [...file.tensors.keys()].some((name) => name.includes('.lora_A.'))
  const config = isPeft ? await readIfThere(beside) : undefined
  return {
    ...file,
    path,
    base: isOurs ? file.metadata.base : undefined,
    scaleOf: config === undefined ? undefined : parsePeftConfig(config, beside),
  }
}

/** Write an adapter aside, then in place. @returns The number of bytes. @throws {ModelError} As `toTensorFile`. */
export async function saveAdapterFile(
  path: string,
  adapter: Adapter,
  options: { base: string; type: AdapterType },
): Promise<number> {
  const bytes = writeSafetensors(toTensorFile(adapter, options))
  const aside = `${path}.partial`
  await writeFile(aside, bytes).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot write adapter "${path}": ${cause.code}`, { cause })
  })
  await rename(aside, path)
  return bytes.length
}
