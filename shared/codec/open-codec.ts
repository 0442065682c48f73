import { IntegrityError, ModelError } from '../errors.ts'
import type { GraphEntry } from '../manifest/codec-manifest.ts'
import { openCodecFamily } from '../manifest/narrow-family.ts'
import type { CodecFamily } from '../manifest/open-family.ts'
import type { Backend, TensorData } from '../runtime/session.ts'
import { AdaptedGraph } from './adapted-graph.ts'
import { readModes, writeModes } from './block-modes.ts'
import { type FrameKind, readCrc, readStream, type StreamHeader, writeStream } from './container.ts'
import { ContextModel, type Prediction } from './context-model.ts'
import { checkFinite, checkSymbols, symbolsOfBlob } from './golden-symbols.ts'
import { planInterFrame, toPrediction } from './inter.ts'
import type { EncodeOptions, FrameReference, Picture, PictureCodec } from './picture-codec.ts'
import { RansDecoder, RansEncoder } from './rans.ts'

/** Position in the manifest of the one adapter set that alpha scales. */
const ADAPTER_INDEX = 0

export interface CodecOptions {
  readonly threads: number
  readonly backend?: Backend | undefined
}

/** Round half away from zero; symbols outside int16 are held at its ends. */
export function quantise(latent: Float32Array): Int16Array {
  const symbols = new Int16Array(latent.length)
  for (let i = 0; i < latent.length; i++) {
    const value = latent[i]!
    const magnitude = Math.min(32767, Math.floor(Math.abs(value) + 0.5))
    symbols[i] = value < 0 ? -magnitude : magnitude
  }
  return symbols
}

/** Repeat the last row and column until both sides are multiples of `stride`. */
export function padPicture({ width, height, rgb }: Picture, stride: number): Picture {
  const paddedWidth = Math.ceil(width / stride) * stride
  const paddedHeight = Math.ceil(height / stride) * stride
  if (paddedWidth === width && paddedHeight === height) return { width, height, rgb }
  const padded = new Uint8Array(paddedWidth * paddedHeight * 3)
  for (let y = 0; y < paddedHeight; y++) {
    const row = Math.min(y, height - 1) * width * 3
    const to = y * paddedWidth * 3
    padded.set(rgb.subarray(row, row + width * 3), to)
    const last = rgb.subarray(row + width * 3 - 3, row + width * 3)
    for (let x = width; x < paddedWidth; x++) padded.set(last, to + x * 3)
  }
  return { width: paddedWidth, height: paddedHeight, rgb: padded }
}

function cropPicture({ width, rgb }: Picture, to: { width: number; height: number }): Picture {
  const cropped = new Uint8Array(to.width * to.height * 3)
  for (let y = 0; y < to.height; y++)
    cropped.set(rgb.subarray(y * width * 3, (y * width + to.width) * 3), y * to.width * 3)
  return { ...to, rgb: cropped }
}

/**
 * Open the codec of a family. Graphs open when first used.
 *
 * @param options.threads At least 1; on WASM fixed for the process by the first codec that opens.
 * @param options.backend What the networks run on; `wasm` unless told otherwise. The entropy coder is the same on all.
 * @throws {IntegrityError} If the family's files are not what its manifest says.
 */
export async function openFamilyCodec(directory: string, options: CodecOptions): Promise<PictureCodec> {
  return openCodec(await openCodecFamily(directory), options)
}

/** As `openFamilyCodec`, of a family that is already open. */
export async function openCodec(family: CodecFamily, options: CodecOptions): Promise<PictureCodec> {
  const { manifest, codecDigest } = family
  const context = await ContextModel.open(await family.readBlob(manifest.entropy))
  if (context.channels !== manifest.latent.channels)
    throw new IntegrityError(
      `Cannot open family "${manifest.family}": tables have ${context.channels} channels, expected ${manifest.latent.channels}`,
    )
  const graphs = new Map<string, Promise<AdaptedGraph>>()
  const openGraph = (name: string, entry: GraphEntry): Promise<AdaptedGraph> => {
    const { backend = 'wasm', threads } = options
    const opening =
      graphs.get(name) ?? AdaptedGraph.open(family, entry, { backend, threads, name: `${manifest.family}/${name}` })
    graphs.set(name, opening)
    return opening
  }
  const checked = new Set<string>()
  const nameOf = (variant: string): string => `encoder.${variant}`
  const entryOf = (variant: string): { index: number; encoder: GraphEntry } => {
    const index = manifest.variants.findIndex(({ id }) => id === variant)
    if (index === -1)
      throw new ModelError(
        `Cannot encode with variant "${variant}": "${manifest.family}" has ${manifest.variants.map(({ id }) => `"${id}"`)}`,
      )
    return { index, encoder: manifest.variants[index]!.encoder }
  }
  const closeGraph = async (name: string): Promise<void> => {
    const opening = graphs.get(name)
    graphs.delete(name)
    checked.delete(name)
    await opening?.then(
      (graph) => graph.close(),
      () => undefined,
    )
  }
  const { stride, channels } = manifest.latent
  const digests = { codecDigest: codecDigest.slice(0, 16), tablesDigest: manifest.entropy.sha256.slice(0, 8) }

  /** Write the symbols that serve best: those that follow the reference, where that helps, else a key frame's. */
  const codeSymbols = (
    latent: Float32Array,
    size: { width: number; height: number },
    { alpha255, reference }: EncodeOptions,
  ): { symbols: Int16Array; payload: Uint8Array; frameKind: FrameKind } => {
    const frame = { height: Math.ceil(size.height / stride), width: Math.ceil(size.width / stride), alpha255 }
    const rounded = quantise(latent)
    const encoder = new RansEncoder()
    if (reference !== undefined && reference.width === size.width && reference.height === size.height) {
      const before = context.rescale(reference.symbols, reference.alpha255, alpha255)
      const inter = planInterFrame(latent, rounded, before, frame.height * frame.width)
      if (inter !== undefined) {
        writeModes(encoder, inter.modes, frame.width)
        context.write(encoder, inter.symbols, { ...frame, prediction: toPrediction(before, inter.modes) })
        return { symbols: inter.symbols, payload: encoder.finish(), frameKind: 'inter' }
      }
    }
    context.write(encoder, rounded, frame)
    return { symbols: rounded, payload: encoder.finish(), frameKind: 'key' }
  }

  const readSymbols = (
    stream: Uint8Array,
    reference: FrameReference | undefined,
  ): { header: StreamHeader; symbols: Int16Array; bitsByChannel: Float64Array } => {
    const { header, payload } = readStream(stream)
    if (header.codecDigest !== digests.codecDigest || header.tablesDigest !== digests.tablesDigest)
      throw new IntegrityError(
        `Cannot decode stream: it is of codec ${header.codecDigest} with tables ${header.tablesDigest}, expected ${digests.codecDigest} with ${digests.tablesDigest} ("${manifest.family}" ${manifest.version})`,
      )
    if (header.adapterIndex !== ADAPTER_INDEX)
      throw new IntegrityError(`Cannot decode stream: found adapter ${header.adapterIndex}, expected ${ADAPTER_INDEX}`)
    const { alpha255 } = header
    const frame = { height: Math.ceil(header.height / stride), width: Math.ceil(header.width / stride), alpha255 }
    const decoder = new RansDecoder(payload)
    const bitsByChannel = new Float64Array(channels)
    let prediction: Prediction | undefined
    if (header.frameKind === 'inter') {
      if (
        reference?.crc !== header.referenceCrc ||
        reference.width !== header.width ||
        reference.height !== header.height
      )
        throw new IntegrityError(
          `Cannot decode stream: it follows frame ${header.referenceCrc.toString(16)}, found ${reference?.crc.toString(16) ?? 'none'}; a key frame is needed`,
        )
      const modes = readModes(decoder, frame.height, frame.width)
      prediction = toPrediction(context.rescale(reference.symbols, reference.alpha255, alpha255), modes)
    }
    const symbols = context.read(decoder, { ...frame, prediction }, bitsByChannel)
    decoder.finish()
    return { header, symbols, bitsByChannel }
  }

  const toTensor = (picture: Picture): TensorData => {
    const { width, height, rgb } = padPicture(picture, stride)
    return { type: 'uint8', data: rgb, dims: [1, height, width, 3] }
  }

  /** An encoder with its weights merged: that is no part of the network's time. */
  const encoderAt = async (variant: string, alpha255: number) => {
    const graph = await openGraph(nameOf(variant), entryOf(variant).encoder)
    graph.adapt(alpha255)
    return async (picture: Picture): Promise<Float32Array> => {
      const { data } = await graph.run(toTensor(picture), alpha255)
      const latent = data as Float32Array
      checkFinite(latent, `${manifest.family}/${variant}`)
      return latent
    }
  }

  const checkVariant = async (variant: string): Promise<void> => {
    const { golden } = manifest
    const picture = { width: golden.width, height: golden.height, rgb: await family.readBlob(golden.picture) }
    const cases = golden.cases.filter((each) => each.variant === variant)
    // One without golden symbols must at least open and give numbers.
    if (cases.length === 0) await (await encoderAt(variant, 0))(picture)
    for (const { alpha255, symbols } of cases) {
      const encode = await encoderAt(variant, alpha255)
      const expected = symbolsOfBlob(await family.readBlob(symbols))
      checkSymbols(`${manifest.family}/${variant}`, quantise(await encode(picture)), expected)
    }
  }

  return {
    manifest,
    async openVariants(variants) {
      for (const variant of variants) {
        const name = nameOf(variant)
        if (checked.has(name)) continue
        try {
          await checkVariant(variant)
          checked.add(name)
        } catch (error) {
          await closeGraph(name)
          throw error
        }
      }
      const kept = new Set(variants.map(nameOf))
      for (const name of [...graphs.keys()]) if (name.startsWith('encoder.') && !kept.has(name)) await closeGraph(name)
    },

    async encode(picture, options) {
      const { index: variantIndex } = entryOf(options.variant)
      if (picture.rgb.length !== picture.width * picture.height * 3)
        throw new RangeError(
          `Cannot encode picture: found ${picture.rgb.length} bytes, expected ${picture.width} x ${picture.height} x 3`,
        )
      const { width, height } = picture
      const { alpha255 } = options
      const encode = await encoderAt(options.variant, alpha255)
      const started = performance.now()
      const latent = await encode(picture)
      const computed = performance.now()
      const { symbols, payload, frameKind } = codeSymbols(latent, picture, options)
      const referenceCrc = frameKind === 'inter' ? options.reference!.crc : 0
      const stream = writeStream(
        { frameKind, variantIndex, adapterIndex: ADAPTER_INDEX, alpha255, width, height, ...digests, referenceCrc },
        payload,
      )
      return {
        stream,
        frameKind,
        reference: { width, height, alpha255, symbols, crc: readCrc(stream) },
        timings: { networkMs: computed - started, entropyMs: performance.now() - computed },
      }
    },

    async decode(stream, { reference, decoder = 'full' } = {}) {
      const { header, symbols } = readSymbols(stream, reference)
      const entry = manifest.decoders[decoder]
      if (entry === undefined)
        throw new ModelError(`Cannot decode with the ${decoder} decoder: "${manifest.family}" has none`)
      const { width, height, alpha255, crc } = header
      const [h, w] = [Math.ceil(height / stride), Math.ceil(width / stride)]
      const graph = await openGraph(`decoder.${decoder}`, entry)
      const data = new Float32Array(symbols)
      const frame = await graph.run({ type: 'float32', data, dims: [1, channels, h, w] }, alpha255)
      const whole = { width: w * stride, height: h * stride, rgb: frame.data as Uint8Array }
      return { ...cropPicture(whole, header), reference: { width, height, alpha255, symbols, crc } }
    },

    decodeSymbols(stream, { reference } = {}) {
      const { header, symbols, bitsByChannel } = readSymbols(stream, reference)
      const { width, height, alpha255, crc } = header
      return { reference: { width, height, alpha255, symbols, crc }, bitsByChannel }
    },

    async measureAdapter(picture, variant) {
      const graph = await openGraph(nameOf(variant), entryOf(variant).encoder)
      return graph.measure(toTensor(picture))
    },

    async settle(bakeAfterFrames) {
      for (const [name, opening] of graphs) {
        // One that did not open is told of where its frame is asked for.
        const graph = name.startsWith('encoder.') ? await opening.catch(() => undefined) : undefined
        await graph?.settle(bakeAfterFrames)
      }
    },

    async close() {
      for (const opening of graphs.values()) await (await opening).close()
      graphs.clear()
    },
  }
}
