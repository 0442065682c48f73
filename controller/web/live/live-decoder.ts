import { readHeader } from '@espalier/shared/codec/container'
import { openCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { toRgba } from '@espalier/shared/codec/to-rgba'
import { Weights } from '@espalier/shared/codec/weights'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import type { CodecFamily, FamilySource } from '@espalier/shared/manifest/open-family'
import { pageThreads } from '@espalier/shared/runtime/page-backend'
import type { DrawPass } from './draw-pass.ts'
import { toFloatPicture } from './float-picture.ts'

export interface DecodedFrame {
  readonly reference: FrameReference
  readonly frameKind: 'key' | 'inter'
}

/** The decoder of one family. Calls must not overlap. */
export interface LiveDecoder {
  readonly backend: 'webgpu' | 'wasm'
  /**
   * Read streams that follow one another and draw the last.
   *
   * @param streams At least one. @param reference What the first follows; a key frame follows nothing.
   * @throws {IntegrityError} If a stream is damaged, of another family, or follows a frame that is not there.
   */
  show(
    streams: readonly Uint8Array[],
    reference: FrameReference | undefined,
    canvas: OffscreenCanvas,
  ): Promise<DecodedFrame>
  close(): Promise<void>
}

function readAhead(
  codec: PictureCodec,
  streams: readonly Uint8Array[],
  reference: FrameReference | undefined,
): FrameReference | undefined {
  let last = reference
  for (const stream of streams) last = codec.decodeSymbols(stream, { reference: last }).reference
  return last
}

function openOnWasm(codec: PictureCodec): LiveDecoder {
  // Several times less work than the full one, which a page of pictures has not to spare without a GPU.
  const decoder = codec.manifest.decoders.light === undefined ? 'full' : 'light'
  return {
    backend: 'wasm',
    async show(streams, reference, canvas) {
      const newest = streams.at(-1)!
      const before = readAhead(codec, streams.slice(0, -1), reference)
      const decoded = await codec.decode(newest, { reference: before, decoder })
      const { width, height, rgb } = decoded
      if (canvas.width !== width) canvas.width = width
      if (canvas.height !== height) canvas.height = height
      canvas.getContext('2d')!.putImageData(new ImageData(toRgba(rgb), width, height), 0, 0)
      return { reference: decoded.reference, frameKind: readHeader(newest).frameKind }
    },
    close: () => codec.close(),
  }
}

/** One for the page: all decoders compute on the runtime's device, and draw with it. */
let drawPass: Promise<DrawPass> | undefined

/**
 * Symbols are read on the processor, and what an inter frame follows is symbols too. So they go up to the GPU for each
 * frame that is shown, and nothing comes back: pixels are computed and drawn there.
 */
async function openOnGpu(family: CodecFamily, codec: PictureCodec): Promise<LiveDecoder> {
  const { decoders, latent, family: name } = family.manifest
  const entry = decoders.full
  // Loaded when it is needed: most of what a page without a GPU would fetch is this.
  const [{ openGpuPicture }, { DrawPass }] = await Promise.all([
    import('@espalier/shared/runtime/webgpu-picture'),
    import('./draw-pass.ts'),
  ])
  const [bytes, weights] = await Promise.all([family.readBlob(entry), Weights.load(family, entry)])
  const { graph, output, isPlanar } = toFloatPicture(bytes, entry.output)
  const session = await openGpuPicture(graph, {
    input: entry.input,
    output,
    weightInputs: Object.keys(entry.weights),
    threads: 1,
    name: `${name}/decoder.full`,
  })
  drawPass ??= DrawPass.open(session.device as unknown as GPUDevice)
  const pass = await drawPass
  return {
    backend: 'webgpu',
    async show(streams, reference, canvas) {
      const shown = readAhead(codec, streams, reference)!
      const { width, height, alpha255, symbols } = shown
      const [rows, columns] = [Math.ceil(height / latent.stride), Math.ceil(width / latent.stride)]
      const data = new Float32Array(symbols)
      const dims = [1, latent.channels, rows, columns]
      const picture = await session.run({ type: 'float32', data, dims }, weights.at(alpha255))
      try {
        await pass.draw(canvas, picture, isPlanar, { width, height })
      } finally {
        picture.release()
      }
      return { reference: shown, frameKind: readHeader(streams.at(-1)!).frameKind }
    },
    async close() {
      await session.close()
      await codec.close()
    },
  }
}

/** @throws {IntegrityError} {ModelError} {ConfigError} If the family or the backend cannot be had. */
export async function openLiveDecoder(source: FamilySource, backend: 'webgpu' | 'wasm'): Promise<LiveDecoder> {
  const family = await openCodecFamily(source)
  const codec = await openCodec(family, { backend: 'wasm', threads: pageThreads() })
  return backend === 'webgpu' ? openOnGpu(family, codec) : openOnWasm(codec)
}
