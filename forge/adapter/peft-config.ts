import { describeError, ModelError } from '@espalier/shared/errors'
import { z } from 'zod'

/** The part of PEFT's `adapter_config.json` that says by how much pairs are multiplied. */
const schema = z.object({
  lora_alpha: z.number(),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
})

/**
 * @returns What a module's pair is multiplied by: alpha over the rank, or over its root (rsLoRA).
 * @throws {ModelError} If it is no such file, or of a kind that is more than a low-rank update.
 */
export function parsePeftConfig(text: string, name: string): (module: string, rank: number) => number {
  let config: z.infer<typeof schema>
  try {
    config = schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new ModelError(`Cannot read "${name}": found no lora_alpha in it (${describeError(cause)})`, { cause })
  }
  if (config.use_dora)
    throw new ModelError(`Cannot read "${name}": found use_dora, which scales each output too; expected plain LoRA`)
  const patterns = Object.entries(config.alpha_pattern ?? {})
  return (module, rank) => {
    const own = patterns.find(([key]) => module === key || module.endsWith(`.${key}`))
    return (own?.[1] ?? config.lora_alpha) / (config.use_rslora ? Math.sqrt(rank) : rank)
  }
}
