import { type Classifier, openClassifier } from '@espalier/shared/classifier/open-classifier'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import type { Configuration } from '@espalier/shared/configuration'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { ClassifierFamily } from '@espalier/shared/manifest/open-family'
import type { Backend } from '@espalier/shared/runtime/session'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame, RuntimeSpeed } from './messages.ts'
import type { Pipeline } from './pipeline.ts'
import { resizePicture } from './resize-picture.ts'
import { testPicture } from './test-picture.ts'

/** The engine optimises what has run for a while; the golden check was one run already. */
const WARM_UP_RUNS = 3
const BENCHMARK_RUNS = 6

/** From a source picture to the class of what it shows. */
export class ClassifierPipeline implements Pipeline {
  readonly #family: ClassifierFamily
  readonly #runtime: { readonly backend: Backend; readonly threads: number }
  readonly #open = new Map<string, Classifier>()
  #newest: { readonly variant: string; readonly index: number } | undefined

  constructor(family: ClassifierFamily, runtime: { readonly backend: Backend; readonly threads: number }) {
    this.#family = family
    this.#runtime = runtime
  }

  async warmUp(): Promise<void> {
    await this.#openVariant(this.#firstId)
  }

  async benchmark(): Promise<RuntimeSpeed> {
    const classifier = await this.#openVariant(this.#firstId)
    const { width, height } = inputSize(this.#family.manifest.input)
    const picture = testPicture(width, height)
    const times: number[] = []
    for (let run = 0; run < BENCHMARK_RUNS; run++) times.push((await classifier.run(picture)).networkMs)
    const seconds = Math.max(1e-6, Math.min(...times) / 1000)
    return { macsPerSecond: Math.max(1, classifier.variant.graph.macs) / seconds }
  }

  heed(): void {
    // Its weights are constants already.
  }

  async settle(): Promise<void> {
    // As above.
  }

  async prepare(variants: readonly string[]): Promise<void> {
    const before = new Set(this.#open.keys())
    try {
      for (const variant of variants) await this.#openVariant(variant)
    } catch (error) {
      // What ran before still runs; nothing of what failed stays open.
      await this.#close((id) => !before.has(id))
      throw error
    }
    await this.#close((id) => id !== this.#firstId && !variants.includes(id))
  }

  async process(picture: Picture, configuration: Configuration): Promise<ProcessedFrame> {
    const classifier = await this.#openVariant(configuration.variant)
    const started = performance.now()
    const resized = await resizePicture(picture, inputSize(this.#family.manifest.input))
    const resizeMs = performance.now() - started
    const { index, label, score, networkMs } = await classifier.run(resized)
    this.#newest = { variant: configuration.variant, index }
    return {
      result: { kind: 'classification', classification: { index, label, score } },
      timings: { resizeMs, networkMs, entropyMs: 0 },
    }
  }

  /** Whether the family's first variant says the same; it has nothing to be compared with itself. */
  async measureQuality(picture: Picture): Promise<QualitySample | undefined> {
    const newest = this.#newest
    if (newest === undefined || newest.variant === this.#firstId) return undefined
    const resized = await resizePicture(picture, inputSize(this.#family.manifest.input))
    const { index } = await (await this.#openVariant(this.#firstId)).run(resized)
    return { kind: 'agreement', agrees: index === newest.index }
  }

  get #firstId(): string {
    return this.#family.manifest.variants[0]!.id
  }

  /** Open and warmed up, once. */
  async #openVariant(variant: string): Promise<Classifier> {
    const known = this.#open.get(variant)
    if (known !== undefined) return known
    const classifier = await openClassifier(this.#family, { variant, ...this.#runtime })
    this.#open.set(variant, classifier)
    const { width, height } = inputSize(this.#family.manifest.input)
    for (let run = 0; run < WARM_UP_RUNS; run++) await classifier.run(testPicture(width, height))
    return classifier
  }

  async #close(isClosed: (variant: string) => boolean): Promise<void> {
    for (const [id, classifier] of [...this.#open].filter(([id]) => isClosed(id))) {
      this.#open.delete(id)
      await classifier.close()
    }
  }
}
