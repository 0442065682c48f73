import type { Picture } from '../codec/picture-codec.ts'
import { IntegrityError, ModelError } from '../errors.ts'
import { blobsOf, type ClassifierVariant } from '../manifest/classifier-manifest.ts'
import type { ClassifierFamily } from '../manifest/open-family.ts'
import { openSession } from '../runtime/open-session.ts'
import type { Backend, Session } from '../runtime/session.ts'
import { type Classification, classify } from './classification.ts'
import { checkGolden, floatsOfBlob } from './golden.ts'
import { toInput } from './to-input.ts'

export interface ClassifierOptions {
  readonly variant: string
  /** At least 1; on WASM fixed for the process by the first session that opens. */
  readonly threads: number
  readonly backend?: Backend | undefined
}

export interface ClassifierRun extends Classification {
  /** One number for each class, as the graph gives them: logits, or probabilities where the manifest says so. */
  readonly logits: Float32Array
  readonly networkMs: number
}

/** One variant, ready to run. Owns its session; calls must not overlap. */
export interface Classifier {
  readonly variant: ClassifierVariant
  /** @param picture Of the input's size. @throws {RangeError} If it is of another. */
  run(picture: Picture): Promise<ClassifierRun>
  close(): Promise<void>
}

async function openVariantSession(
  family: ClassifierFamily,
  variant: ClassifierVariant,
  { threads, backend = 'wasm' }: ClassifierOptions,
): Promise<Session> {
  const { manifest } = family
  const { graph } = variant
  const external = blobsOf(manifest, variant).filter(({ sha256 }) => sha256 !== graph.sha256)
  const [bytes, ...externalData] = await Promise.all([
    family.readBlob(graph),
    ...external.map(async (entry) => ({ path: entry.sha256, data: await family.readBlob(entry) })),
  ] as const)
  return openSession(bytes, {
    backend,
    threads,
    input: graph.input,
    output: graph.output,
    weightInputs: [],
    externalData,
    name: `${manifest.family}/${variant.id}`,
  })
}

/** @throws {IntegrityError} As `checkGolden`. */
async function checkVariant(
  family: ClassifierFamily,
  { id }: ClassifierVariant,
  run: (data: Float32Array) => Promise<Float32Array>,
): Promise<void> {
  const { golden, family: name } = family.manifest
  const { output, tolerance } = golden.cases.find(({ variant }) => variant === id)!
  const [input, expected] = [await family.readBlob(golden.input), await family.readBlob(output)]
  const found = await run(floatsOfBlob(input, `golden input of ${name}`))
  checkGolden(`${name}/${id}`, found, { output: floatsOfBlob(expected, `golden output of ${name}/${id}`), tolerance })
}

/**
 * Open one variant of a family of classifiers: every blob is checked against its digest, and what the variant gives
 * for the golden input against what it gave when the family was made.
 *
 * Variants open one after the other (`GraphOptions.externalData`); once open, any number may be.
 *
 * @throws {ModelError} If there is no such variant, or the backend refuses its graph.
 * @throws {IntegrityError} If a blob is not what the manifest says, or a golden output differs.
 * @example await openClassifier(await openClassifierFamily('models/cifar10'), { variant: 'base', threads: 1 })
 */
export async function openClassifier(family: ClassifierFamily, options: ClassifierOptions): Promise<Classifier> {
  const { manifest } = family
  const variant = manifest.variants.find(({ id }) => id === options.variant)
  if (variant === undefined)
    throw new ModelError(
      `Cannot open variant "${options.variant}": "${manifest.family}" has ${manifest.variants.map(({ id }) => `"${id}"`)}`,
    )
  const session = await openVariantSession(family, variant, options)
  const { dims } = manifest.input
  const runRaw = async (data: Float32Array): Promise<Float32Array> => {
    const output = await session.run({ type: 'float32', data, dims }, new Map())
    if (output.type !== 'float32' || output.data.length !== manifest.output.classes)
      throw new IntegrityError(
        `Cannot use variant "${manifest.family}/${variant.id}": found ${output.data.length} values of ${output.type}, expected ${manifest.output.classes} of float32`,
      )
    return output.data as Float32Array
  }
  try {
    await checkVariant(family, variant, runRaw)
  } catch (error) {
    await session.close()
    throw error
  }
  return {
    variant,
    async run(picture) {
      const input = toInput(picture, manifest.input)
      const started = performance.now()
      const logits = await runRaw(input)
      const networkMs = performance.now() - started
      return { ...classify(logits, { scores: manifest.output.scores, labels: manifest.labels }), logits, networkMs }
    },
    close: () => session.close(),
  }
}
