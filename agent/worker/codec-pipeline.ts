import type { FrameReference, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import type { Configuration } from '@espalier/shared/configuration'
import type { QualitySample } from '../frame-result.ts'
import type { ProcessedFrame } from './messages.ts'
import type { Pipeline } from './pipeline.ts'
import { resizePicture } from './resize-picture.ts'
import { testPicture } from './test-picture.ts'

/** The engine optimises what has run for a while: without these the first frames take several times as long. */
const WARM_UP_SIDE = 128
const WARM_UP_RUNS = 4
const BENCHMARK_SIDE = 192
const BENCHMARK_RUNS = 6

/** From a source picture to a stream. */
export class CodecPipeline implements Pipeline {
  readonly #codec: PictureCodec
  /** The newest frame, for the next to follow, and the one that it follows itself. */
  #last: FrameReference | undefined
  #before: FrameReference | undefined
  #stream: Uint8Array | undefined

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

  /**
   * Time the encoder.
   *
   * @returns Multiply-accumulates a second for one thread: the best of a few runs, because interruptions only add.
   */
  async benchmark(threads: number): Promise<number> {
    const times: number[] = []
    for (let run = 0; run < BENCHMARK_RUNS; run++)
      times.push((await this.#codec.encode(testPicture(BENCHMARK_SIDE), this.#benchmarkOptions())).timings.networkMs)
    const seconds = Math.max(1e-6, Math.min(...times) / 1000)
    const { macsPerPixel } = this.#codec.manifest.variants[0]!.encoder
    return (macsPerPixel * BENCHMARK_SIDE ** 2) / seconds / threads
  }

  #benchmarkOptions(): { variant: string; alpha255: number } {
    return { variant: this.#codec.manifest.variants[0]!.id, alpha255: 128 }
  }
}
