import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { ConfigError } from '@espalier/shared/errors'
import { floatsOf } from './graph/tensor.ts'
import { readSafetensors } from './safetensors.ts'

/**
 * Gradients of a loss, as `forge/training/finetune.py --gradients` writes them.
 *
 * @param path A .safetensors file whose tensors have the names of the model's weights.
 * @returns Weight name -> gradient, in the weight's own order.
 * @throws {ConfigError} If the file cannot be read. @throws {ModelError} As `readSafetensors`.
 */
export async function readGradients(path: string): Promise<Map<string, Float64Array>> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read gradients "${path}": ${cause.code}`, { cause })
  })
  const { tensors } = readSafetensors(bytes, basename(path))
  return new Map([...tensors].map(([name, tensor]) => [name, floatsOf(tensor, name)]))
}
