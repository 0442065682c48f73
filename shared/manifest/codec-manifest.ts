import { z } from 'zod'
import { blobSchema } from './blob.ts'
import { headShape } from './head.ts'
import { measuredSchema } from './measured.ts'

/** A tensor of the family; stored as a blob, always little-endian and C order. float16 is widened to float32 when fed. */
const tensorSchema = blobSchema.extend({
  dtype: z.enum(['float32', 'float16']),
  shape: z.array(z.int().min(1)).max(6),
})
export type TensorEntry = z.infer<typeof tensorSchema>

/** A graph takes all its weights as inputs: `weights` maps input name -> tensor name. */
const graphSchema = blobSchema.extend({
  /** Names of the input that is not a weight, and of the output. */
  input: z.string(),
  output: z.string(),
  weights: z.record(z.string(), z.string()),
  /** Multiply-accumulates for each pixel of the (padded) picture. */
  macsPerPixel: z.number().positive(),
})
export type GraphEntry = z.infer<typeof graphSchema>

/**
 * What alpha does to a named tensor. `lowRank`: a pair of 1x1 convolutions on the layer's output, merged:
 * (I + alpha * up @ down) @ W with W as a matrix of one row an output (ALICE, methods 7). `linear`: W + alpha * delta. `logGain`: W * exp(alpha * delta).
 */
const updateSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('lowRank'), down: z.string(), up: z.string() }),
  z.object({ kind: z.literal('linear'), delta: z.string() }),
  z.object({ kind: z.literal('logGain'), delta: z.string() }),
])
export type TensorUpdate = z.infer<typeof updateSchema>

const adapterSchema = z.object({
  id: z.string(),
  /** Tensor name -> update. */
  updates: z.record(z.string(), updateSchema),
})

/** Measured on the reference photos at each alpha; between two points interpolate linearly. */
const cardPointSchema = z.object({
  alpha255: z.int().min(0).max(255),
  bitsPerPixel: z.number().positive(),
  psnrDb: z.number(),
})

/** What halving the frame costs: the PSNR of the reference photos scaled down, up again, and not coded. */
const resizePointSchema = z.object({ scale: z.number().gt(0).lt(1), psnrDb: z.number() })

const variantSchema = z.object({
  id: z.string(),
  encoder: graphSchema,
  /** The same encoder with its adapters beside the layers, scaled by the input "alpha" [1]: nothing is merged. */
  live: graphSchema.optional(),
  card: z.array(cardPointSchema).min(2),
  measured: z.array(measuredSchema).optional(),
})

const goldenSchema = z.object({
  /** Interleaved RGB bytes, [height, width, 3]. */
  picture: blobSchema,
  width: z.int().positive(),
  height: z.int().positive(),
  cases: z.array(
    z.object({
      variant: z.string(),
      alpha255: z.int(),
      /** int16 little-endian, [channels, h, w]: a device may differ at rounding edges, never in decoding. */
      symbols: blobSchema,
      /** What the entropy coder writes for these symbols, byte for byte. */
      payload: blobSchema,
      /** Interleaved RGB bytes that the symbols decode to; within 1 level on any backend. */
      decoded: blobSchema,
    }),
  ),
})

/** A family of encoders and decoders: pictures become streams, and streams pictures. */
export const codecManifestSchema = z.object({
  ...headShape,
  task: z.literal('image-codec'),
  tensors: z.record(z.string(), tensorSchema),
  variants: z.array(variantSchema).min(1),
  /** Either reads every stream of the family. `full` is what streams are made for; `light` is for weak receivers. */
  decoders: z.object({ full: graphSchema, light: graphSchema.optional() }),
  resizeCard: z.array(resizePointSchema),
  adapters: z.array(adapterSchema),
  /** Integer tables and weights of the context model: shared/codec/context-model.ts. */
  entropy: blobSchema,
  /** Latent channels, and the pixels a latent stands for in each direction. */
  latent: z.object({ channels: z.int().positive(), stride: z.int().positive() }),
  golden: goldenSchema,
})
export type CodecManifest = z.infer<typeof codecManifestSchema>
