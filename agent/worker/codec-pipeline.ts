import type { FrameReference, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import type { Configuration } from '@espalier/shared/configuration'
import { bakeAfterFrames } from '@espalier/shared/runtime/adapter-costs'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame, RuntimeSpeed } from './messages.ts'
import type { Pipeline } from './pipeline.ts'
import { resizePicture } from './resize-picture.ts'
import { testPicture } from './test-picture.ts'

/** The engine optimises what has run for a while: without these the first frames take several times as long. */
const WARM_UP_SIDE = 128
const WARM_UP_RUNS = 4
const BENCHMARK_SIDE = 192

/** From a source picture to a stream. */
export class CodecPipeline implements Pipeline {
  readonly #codec: PictureCodec
  /** The newest frame, for the next to follow, and the one that it follows itself. */
  #last: FrameReference | undefined
  #before: FrameReference | undefined
  #stream: Uint8Array | undefined
  #bakeAfterFrames = Number.POSITIVE_INFINITY

  constructor(codec: PictureCodec) {
    this.#codec = codec
  }

  async prepare(variants: readonly string[]): Promise<void> {
    await this.#codec.openVariants(variants)
  }

  /** @param options.keyFrame The frame must stand alone; otherwise it follows the last one where that saves bits. */
  async process(
    picture: Picture,
    configuration: Configuration,
    { keyFrame }: { keyFrame: boolean },
  ): Promise<ProcessedFrame> {
    const started = performance.now()
    const resized = await resizePicture(picture, configuration)
    const resizeMs = performance.now() - started
    const { variant, alpha255 } = configuration
    const reference = keyFrame ? undefined : this.#last
    const { stream, frameKind, timings, ...encoded } = await this.#codec.encode(resized, {
      variant,
      alpha255,
      reference,
    })
    this.#before = reference
    this.#last = encoded.reference
    this.#stream = stream
    return { result: { kind: 'stream', stream, frameKind }, timings: { resizeMs, ...timings } }
  }

  /** Decibels of what a receiver sees of the newest stream, at the size of the source, against what the source gave. */
  async measureQuality(picture: Picture): Promise<QualitySample | undefined> {
    if (this.#stream === undefined) return undefined
    const decoded = await this.#codec.decode(this.#stream, { reference: this.#before })
    return { kind: 'psnr', psnrDb: psnrDb(await resizePicture(decoded, picture), picture) }
  }

  /** Run encoder and decoder, so that no frame pays for opening them. */
  async warmUp(): Promise<void> {
    for (let run = 0; run < WARM_UP_RUNS; run++) {
      const { stream } = await this.#codec.encode(testPicture(WARM_UP_SIDE), this.#benchmarkOptions())
      if (run === 0) await this.#codec.decode(stream)
    }
  }

  async benchmark(): Promise<RuntimeSpeed> {
    const { id, encoder } = this.#codec.manifest.variants[0]!
    const adapter = await this.#codec.measureAdapter(testPicture(BENCHMARK_SIDE), id)
    // An alpha that stays is baked where that pays.
    const frameMs = Number.isFinite(bakeAfterFrames(adapter)) ? adapter.bakedMs : adapter.inputsMs
    return { macsPerSecond: (encoder.macsPerPixel * BENCHMARK_SIDE ** 2 * 1000) / frameMs, adapter }
  }

  heed({ adapter }: RuntimeSpeed): void {
    this.#bakeAfterFrames = adapter === undefined ? Number.POSITIVE_INFINITY : bakeAfterFrames(adapter)
  }

  settle(): Promise<void> {
    return this.#codec.settle(this.#bakeAfterFrames)
  }

  #benchmarkOptions(): { variant: string; alpha255: number } {
    return { variant: this.#codec.manifest.variants[0]!.id, alpha255: 128 }
  }
}
