import { toInput } from '@espalier/shared/classifier/to-input'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { ConfigError, describeError, ModelError } from '@espalier/shared/errors'
import { digestSchema } from '@espalier/shared/ids'
import { type ClassifierInput, type ClassifierManifest, inputSize } from '@espalier/shared/manifest/classifier-manifest'
import { canonicalJson, parseManifest } from '@espalier/shared/manifest/manifest'
import { lineageOf, type ModelFile } from '../model-file.ts'
import { blobEntryOf } from './digest.ts'
import { goldenOutput } from './golden-output.ts'
import { nameTensors } from './name-tensors.ts'
import { type PreparedVariant, prepareVariant } from './prepare-variant.ts'

/** What nobody can read from the models themselves. */
export interface FamilyDescription {
  readonly family: string
  readonly version: string
  readonly licence: string
  readonly description: string
  readonly labels?: readonly string[] | undefined
  /** Absent: what the number of channels says. */
  readonly colour?: ClassifierInput['colour'] | undefined
  readonly mean?: readonly number[] | undefined
  readonly deviation?: readonly number[] | undefined
  /** Dimensions of the input, where the models leave them open. */
  readonly dims?: readonly number[] | undefined
}

export interface AssembledFamily {
  readonly manifest: ClassifierManifest
  /** SHA-256 -> bytes: everything that the manifest names, each once. */
  readonly blobs: ReadonlyMap<string, Uint8Array>
}

/** A picture of the size that a family takes, for its golden input. */
export type GoldenPicture = (size: { readonly width: number; readonly height: number }) => Promise<Picture>

/** Coloured noise that is the same everywhere. */
export const noisePicture: GoldenPicture = async ({ width, height }) => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 24) & 0xff),
})

function inputOf({ id, input }: PreparedVariant, { colour, mean, deviation }: FamilyDescription): ClassifierInput {
  const [, a, , c] = input.dims as [number, number, number, number]
  const isChannels = (count: number): boolean => count === 3 || count === 1
  if (!isChannels(a) && !isChannels(c))
    throw new ModelError(
      `Cannot use model "${id}": input "${input.name}" is ${input.dims.join(' x ')}, expected 3 channels or 1`,
    )
  const layout = isChannels(a) ? 'nchw' : 'nhwc'
  return {
    layout,
    dims: [1, ...input.dims.slice(1)] as ClassifierInput['dims'],
    colour: colour ?? ((layout === 'nchw' ? a : c) === 1 ? 'grey' : 'rgb'),
    ...(mean === undefined ? {} : { mean: [...mean] }),
    ...(deviation === undefined ? {} : { deviation: [...deviation] }),
  }
}

/** @throws {ModelError} If a variant takes or gives something else than the first. */
function checkAlike([base, ...others]: readonly PreparedVariant[]): void {
  for (const { id, input, classes, isProbability } of others) {
    if (input.dims.join() !== base!.input.dims.join())
      throw new ModelError(
        `Cannot use model "${id}": it takes ${input.dims.join(' x ')}, expected ${base!.input.dims.join(' x ')} as "${base!.id}"`,
      )
    if (classes !== base!.classes)
      throw new ModelError(`Cannot use model "${id}": it gives ${classes} values, expected ${base!.classes}`)
    if (isProbability !== base!.isProbability)
      throw new ModelError(
        `Cannot use model "${id}": it gives ${isProbability ? 'probabilities' : 'logits'}, "${base!.id}" does not`,
      )
  }
}

/**
 * Make a family of models that answer the same question: graphs without their large tensors, and each tensor once,
 * whatever the models call it.
 *
 * @param models Id -> file; the first is the one that the others are compared with.
 * @throws {ModelError} If one is no classifier of one picture, or they differ in what they take and give.
 * @throws {ConfigError} If the description does not fit the models.
 */
export async function assembleFamily(
  models: ReadonlyMap<string, ModelFile>,
  description: FamilyDescription,
  goldenPicture: GoldenPicture = noisePicture,
): Promise<AssembledFamily> {
  const variants: PreparedVariant[] = []
  // In turn: a runtime holds the external data of one opening at a time.
  for (const [id, file] of models) variants.push(await prepareVariant(id, file, description.dims))
  checkAlike(variants)
  const base = variants[0]!
  const { family, version, licence, labels } = description
  if (labels !== undefined && labels.length !== base.classes)
    throw new ConfigError(`Cannot label "${family}": found ${labels.length} labels, expected ${base.classes}`)
  const input = inputOf(base, description)
  const { tensors, namesOf } = nameTensors(new Map(variants.map(({ id, split }) => [id, split.tensors])))
  const blobs = new Map<string, Uint8Array>()
  const keep = (data: Uint8Array): ReturnType<typeof blobEntryOf> => {
    const entry = blobEntryOf(data)
    blobs.set(entry.sha256, data)
    return entry
  }
  for (const { split } of variants) for (const { sha256, data } of split.tensors.values()) blobs.set(sha256, data)
  const goldenInput = toInput(await goldenPicture(inputSize(input)), input)
  const cases: ClassifierManifest['golden']['cases'] = []
  for (const variant of variants) {
    const { output, tolerance } = await goldenOutput(variant, goldenInput)
    cases.push({ variant: variant.id, output: keep(bytesOf(output)), tolerance })
  }
  const manifest: ClassifierManifest = {
    format: 'espalier-family/1',
    family,
    version,
    task: 'classification',
    licence,
    description: description.description,
    input,
    output: { classes: base.classes, scores: base.isProbability ? 'probabilities' : 'logits' },
    ...(labels === undefined ? {} : { labels: [...labels] }),
    tensors: { ...tensors },
    variants: variants.map(({ id, file, graph, split, input: { name }, output, macs }) => ({
      id,
      graph: { ...keep(split.bytes), input: name, output, macs },
      tensors: [...namesOf.get(id)!],
      source: { sha256: digestSchema.parse(file.digest), bytes: file.bytes },
      lineage: lineageOf(graph).map((step) => ({ ...step, parameters: { ...step.parameters } })),
    })),
    golden: { input: keep(bytesOf(goldenInput)), cases },
  }
  return { manifest: checked(manifest), blobs }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength).slice()

/** The manifest as whoever opens the family will read it. @throws {ConfigError} If it would be refused. */
function checked(manifest: ClassifierManifest): ClassifierManifest {
  try {
    return parseManifest(canonicalJson(manifest), manifest.family) as ClassifierManifest
  } catch (cause) {
    throw new ConfigError(`Cannot describe family "${manifest.family}": ${describeError(cause)}`, { cause })
  }
}
