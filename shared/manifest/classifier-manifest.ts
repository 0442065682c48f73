import { z } from 'zod'
import { type BlobEntry, blobSchema } from './blob.ts'
import { familyNameSchema, headShape } from './head.ts'
import { measuredSchema } from './measured.ts'

/** Element types that a tensor's bytes may hold; little-endian, C order, as ONNX stores them raw. */
const ELEMENT_TYPES = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int8',
  'int16',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool',
] as const
export type ElementType = (typeof ELEMENT_TYPES)[number]

const tensorSchema = blobSchema.extend({
  dtype: z.enum(ELEMENT_TYPES),
  shape: z.array(z.int().min(0)).max(8),
})
export type ClassifierTensor = z.infer<typeof tensorSchema>

/** Sides of the input: a configuration names them, and holds no others. */
const MIN_SIDE = 16
const MAX_SIDE = 8192

/** How a picture becomes the one input, float32: (value / 255 - mean) / deviation for each channel. */
const inputSchema = z
  .object({
    layout: z.enum(['nchw', 'nhwc']),
    /** In the order of the layout; the first is 1. */
    dims: z.tuple([z.literal(1), z.int().min(1), z.int().min(1), z.int().min(1)]),
    /** Order of the channels; `grey` has one, the luma of BT.601. */
    colour: z.enum(['rgb', 'bgr', 'grey']),
    /** For each channel in that order, of values on the 0..1 scale; absent: 0. */
    mean: z.array(z.number()).optional(),
    /** As `mean`, above 0; absent: 1. */
    deviation: z.array(z.number().positive()).optional(),
  })
  .superRefine((input, context) => {
    const { channels, height, width } = inputSize(input)
    const expected = input.colour === 'grey' ? 1 : 3
    const complain = (message: string): void => context.addIssue({ code: 'custom', message })
    if (channels !== expected) complain(`found ${channels} channels, expected ${expected} for ${input.colour}`)
    if (Math.min(height, width) < MIN_SIDE || Math.max(height, width) > MAX_SIDE)
      complain(`found a picture of ${width} x ${height}, expected sides of ${MIN_SIDE} to ${MAX_SIDE}`)
    for (const field of ['mean', 'deviation'] as const)
      if (input[field] !== undefined && input[field].length !== channels)
        complain(`found ${input[field].length} values of ${field}, expected ${channels}`)
  })
export type ClassifierInput = z.infer<typeof inputSchema>

/** Pixels and channels of an input. */
export function inputSize({ layout, dims }: Pick<ClassifierInput, 'layout' | 'dims'>): {
  readonly width: number
  readonly height: number
  readonly channels: number
} {
  const [, a, b, c] = dims
  return layout === 'nchw' ? { channels: a, height: b, width: c } : { height: a, width: b, channels: c }
}

/** One pass over a model. */
const stepSchema = z.object({
  pass: z.string(),
  parameters: z.record(z.string(), z.unknown()),
  /** SHA-256 of the file that went in. */
  from: z.string(),
})

const variantSchema = z.object({
  id: familyNameSchema,
  /** An ONNX model whose large tensors are external data, each at the location that is its SHA-256. */
  graph: blobSchema.extend({
    input: z.string(),
    output: z.string(),
    /** Multiply-accumulates of one run. */
    macs: z.number().min(0),
  }),
  /** Names of the family's tensors that the graph refers to. */
  tensors: z.array(z.string()),
  /** The file it was assembled from, and what was done to make that, oldest first. */
  source: blobSchema,
  lineage: z.array(stepSchema),
  /** How it answered when the family was assembled; absent without pictures. */
  judged: z
    .object({
      pictures: z.int().min(1),
      /** Top-1; absent without labels. */
      accuracyPct: z.number().min(0).max(100).optional(),
      /** With the family's first variant. */
      agreementPct: z.number().min(0).max(100),
    })
    .optional(),
  measured: z.array(measuredSchema).optional(),
})
export type ClassifierVariant = z.infer<typeof variantSchema>

const goldenSchema = z.object({
  /** What the graphs take, float32, in the input's dimensions. */
  input: blobSchema,
  cases: z.array(
    z.object({
      variant: z.string(),
      /** Float32. */
      output: blobSchema,
      /** No value may differ by more, on any backend. */
      tolerance: z.number().positive(),
    }),
  ),
})

/** A family of classifiers that take one picture and give one number for each class. */
export const classifierManifestSchema = z
  .object({
    ...headShape,
    task: z.literal('classification'),
    input: inputSchema,
    output: z.object({
      classes: z.int().min(1),
      /** Whether the numbers are probabilities already, or a softmax is still to come. */
      scores: z.enum(['logits', 'probabilities']),
    }),
    /** Names of the classes, in the order of the output. */
    labels: z.array(z.string()).optional(),
    /** By name; several may have the same bytes, which are stored once. */
    tensors: z.record(z.string(), tensorSchema),
    /** The first is the one that the others are compared with. */
    variants: z.array(variantSchema).min(1),
    golden: goldenSchema,
  })
  .superRefine(({ labels, output, tensors, variants, golden }, context) => {
    const complain = (message: string): void => context.addIssue({ code: 'custom', message })
    if (labels !== undefined && labels.length !== output.classes)
      complain(`found ${labels.length} labels, expected ${output.classes}`)
    if (new Set(variants.map(({ id }) => id)).size !== variants.length) complain('found two variants of the same id')
    for (const { id, tensors: names } of variants) {
      for (const name of names)
        if (!Object.hasOwn(tensors, name)) complain(`variant "${id}" refers to tensor "${name}", found none`)
      if (golden.cases.filter(({ variant }) => variant === id).length !== 1)
        complain(`variant "${id}" has no golden case, or several`)
    }
  })
export type ClassifierManifest = z.infer<typeof classifierManifestSchema>

/** The blobs that a variant needs to run: its graph and its tensors, each once. */
export function blobsOf(manifest: ClassifierManifest, { graph, tensors }: ClassifierVariant): BlobEntry[] {
  const entries = [graph, ...tensors.map((name) => manifest.tensors[name]!)]
  return [...new Map(entries.map(({ sha256, bytes }) => [sha256, { sha256, bytes }])).values()]
}
