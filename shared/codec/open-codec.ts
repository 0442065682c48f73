import { Tensor } from 'onnxruntime-web'
import { IntegrityError, ModelError } from '../errors.ts'
import type { GraphEntry } from '../manifest/manifest.ts'
import { type Family, openFamily } from '../manifest/open-family.ts'
import { openWasmSession, type Session } from '../runtime/wasm-session.ts'
import { readStream, writeStream } from './container.ts'
import { ContextModel } from './context-model.ts'
import type { EncodedPicture, Picture, PictureCodec } from './picture-codec.ts'
import { Weights } from './weights.ts'

/** Position in the manifest of the one adapter set that alpha scales. */
const ADAPTER_INDEX = 0

interface OpenGraph {
  readonly session: Session
  readonly weights: Weights
}

/** Round, with magnitudes falling `deadZone` more readily; symbols outside int16 are held at its ends. */
export function quantise(latent: Float32Array, deadZone: number): Int16Array {
  const offset = 0.5 - deadZone
  const symbols = new Int16Array(latent.length)
  for (let i = 0; i < latent.length; i++) {
    const value = latent[i]!
    const magnitude = Math.min(32767, Math.floor(Math.abs(value) + offset))
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
 * Open the codec of a family on this machine's WASM backend. Graphs open when first used.
 *
 * @param options.threads WASM threads, at least 1; fixed for the process by the first codec that opens.
 * @throws {IntegrityError} If the family's files are not what its manifest says.
 */
export async function openFamilyCodec(directory: string, options: { threads: number }): Promise<PictureCodec> {
  return openCodec(await openFamily(directory), options)
}

export async function openCodec(family: Family, options: { threads: number }): Promise<PictureCodec> {
  const { manifest, codecDigest } = family
  const context = new ContextModel(await family.readBlob(manifest.entropy))
  if (context.channels !== manifest.latent.channels)
    throw new IntegrityError(
      `Cannot open family "${manifest.family}": tables have ${context.channels} channels, expected ${manifest.latent.channels}`,
    )
  const graphs = new Map<string, Promise<OpenGraph>>()
  const openGraph = (name: string, entry: GraphEntry): Promise<OpenGraph> => {
    const opening = graphs.get(name) ?? openOne(name, entry)
    graphs.set(name, opening)
    return opening
  }
  const openOne = async (name: string, entry: GraphEntry): Promise<OpenGraph> => {
    const [bytes, weights] = await Promise.all([family.readBlob(entry), Weights.load(family, entry)])
    const session = await openWasmSession(bytes, {
      input: entry.input,
      output: entry.output,
      weightInputs: Object.keys(entry.weights),
      threads: options.threads,
      name: `${manifest.family}/${name}`,
    })
    return { session, weights }
  }
  const { stride, channels, deadZone } = manifest.latent

  return {
    manifest,
    async encode(picture, { variant, alpha255 }): Promise<EncodedPicture> {
      const variantIndex = manifest.variants.findIndex(({ id }) => id === variant)
      const entry = manifest.variants[variantIndex]
      if (entry === undefined)
        throw new ModelError(
          `Cannot encode with variant "${variant}": "${manifest.family}" has ${manifest.variants.map(({ id }) => `"${id}"`)}`,
        )
      if (picture.rgb.length !== picture.width * picture.height * 3)
        throw new RangeError(
          `Cannot encode picture: found ${picture.rgb.length} bytes, expected ${picture.width} x ${picture.height} x 3`,
        )
      const { session, weights } = await openGraph(`encoder.${variant}`, entry.encoder)
      const padded = padPicture(picture, stride)
      const feeds = weights.at(alpha255)
      const started = performance.now()
      const latent = await session.run(new Tensor('uint8', padded.rgb, [1, padded.height, padded.width, 3]), feeds)
      const computed = performance.now()
      const symbols = quantise(latent.data as Float32Array, deadZone)
      const payload = context.encode(symbols, padded.height / stride, padded.width / stride, alpha255)
      const stream = writeStream(
        {
          frameKind: 'key',
          variantIndex,
          adapterIndex: ADAPTER_INDEX,
          alpha255,
          width: picture.width,
          height: picture.height,
          codecDigest: codecDigest.slice(0, 16),
          tablesDigest: manifest.entropy.sha256.slice(0, 8),
        },
        payload,
      )
      return { stream, timings: { networkMs: computed - started, entropyMs: performance.now() - computed } }
    },

    async decode(stream): Promise<Picture> {
      const { header, payload } = readStream(stream)
      if (
        header.codecDigest !== codecDigest.slice(0, 16) ||
        header.tablesDigest !== manifest.entropy.sha256.slice(0, 8)
      )
        throw new IntegrityError(
          `Cannot decode stream: it is of codec ${header.codecDigest} with tables ${header.tablesDigest}, expected ${codecDigest.slice(0, 16)} with ${manifest.entropy.sha256.slice(0, 8)} ("${manifest.family}" ${manifest.version})`,
        )
      if (header.adapterIndex !== ADAPTER_INDEX)
        throw new IntegrityError(
          `Cannot decode stream: found adapter ${header.adapterIndex}, expected ${ADAPTER_INDEX}`,
        )
      const [h, w] = [Math.ceil(header.height / stride), Math.ceil(header.width / stride)]
      const symbols = context.decode(payload, h, w, header.alpha255)
      const { session, weights } = await openGraph('decoder', manifest.decoder)
      const latent = new Tensor('float32', new Float32Array(symbols), [1, channels, h, w])
      const frame = await session.run(latent, weights.at(header.alpha255))
      return cropPicture({ width: w * stride, height: h * stride, rgb: frame.data as Uint8Array }, header)
    },

    async close() {
      for (const opening of graphs.values()) await (await opening).session.close()
      graphs.clear()
    },
  }
}
