import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { ConfigError } from '@espalier/shared/errors'
import sharp from 'sharp'
import { BASELINE_NAMES, type BaselineName, qualitiesOf, runBaseline } from './baselines.ts'
import { bdRatePct } from './bd-rate.ts'
import { msSsim } from './ms-ssim.ts'

export interface QualityPoint {
  readonly bpp: number
  readonly psnrDb: number
  readonly msSsim: number
}

export interface CodecPoint extends QualityPoint {
  readonly variant: string
  readonly alpha: number
  /** Medians over the images, after a warm-up. */
  readonly encodeMs: number
  readonly decodeMs: number
}

export interface Evaluation {
  readonly images: number
  readonly points: readonly CodecPoint[]
  readonly baselines: Readonly<Record<BaselineName, readonly QualityPoint[]>>
  /** Variant -> rate at equal PSNR against each baseline, and against the first variant, in per cent. */
  readonly bdRatePct: Readonly<Record<string, VariantRates>>
}

/** Null where there are too few points to compare. */
export type VariantRates = Readonly<Record<BaselineName | 'first', number | null>>

/** @throws {ConfigError} If the folder holds no picture that can be read. */
export async function listPictures(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read pictures from "${folder}": ${cause.code}`, { cause })
  })
  const pictures = names.filter((name) => /\.(png|jpe?g|webp|avif|tiff?)$/i.test(name)).sort()
  if (pictures.length === 0)
    throw new ConfigError(`Cannot read pictures from "${folder}": found none of PNG, JPEG, WebP, AVIF or TIFF`)
  return pictures.map((name) => join(folder, name))
}

export async function readPicture(path: string): Promise<Picture> {
  const { data, info } = await sharp(path)
    .flatten({ background: '#000' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw new ConfigError(`Cannot read picture "${path}": ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      })
    })
  return { width: info.width, height: info.height, rgb: data }
}

function compare(source: Picture, decoded: Picture, bytes: number): QualityPoint {
  return {
    bpp: (bytes * 8) / (source.width * source.height),
    psnrDb: psnrDb(source, decoded),
    msSsim: msSsim(source.rgb, decoded.rgb, source.width, source.height),
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
}

function average(points: readonly QualityPoint[]): QualityPoint {
  return {
    bpp: round(mean(points.map(({ bpp }) => bpp)), 5),
    psnrDb: round(mean(points.map(({ psnrDb }) => psnrDb)), 4),
    msSsim: round(mean(points.map((point) => point.msSsim)), 5),
  }
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits))

/** One setting over all images, after the codec was warmed up. @param at.alpha In [0, 1]. */
export async function rateDistortion(
  codec: PictureCodec,
  files: readonly string[],
  { variant, alpha }: { variant: string; alpha: number },
): Promise<CodecPoint> {
  const alpha255 = Math.round(alpha * 255)
  const points: QualityPoint[] = []
  const [encodeMs, decodeMs]: [number[], number[]] = [[], []]
  for (const file of files) {
    const picture = await readPicture(file)
    const started = performance.now()
    const { stream } = await codec.encode(picture, { variant, alpha255 })
    const encoded = performance.now()
    const decoded = await codec.decode(stream)
    encodeMs.push(encoded - started)
    decodeMs.push(performance.now() - encoded)
    points.push(compare(picture, decoded, stream.length))
  }
  const times = { encodeMs: round(median(encodeMs), 1), decodeMs: round(median(decodeMs), 1) }
  return { variant, alpha, ...average(points), ...times }
}

/**
 * Rate and distortion of the codec and of its rivals on real files: bits from whole streams and files, headers
 * included; PSNR and MS-SSIM of each image, then averaged, as bits are.
 *
 * @param alphas In [0, 1].
 */
export async function evaluate(
  codec: PictureCodec,
  files: readonly string[],
  options: { variants: readonly string[]; alphas: readonly number[]; onProgress?: (done: number, of: number) => void },
): Promise<Evaluation> {
  const rows = new Map<string, QualityPoint[]>()
  const settings = options.variants.flatMap((variant) => options.alphas.map((alpha) => ({ variant, alpha })))
  const first = await readPicture(files[0]!)
  for (let i = 0; i < 3; i++)
    await codec.decode((await codec.encode(first, { variant: options.variants[0]!, alpha255: 0 })).stream)
  const total = settings.length + files.length
  // Alphas outside, images inside: weights are merged once for each alpha, as on a device.
  const points: CodecPoint[] = []
  for (const setting of settings) {
    points.push(await rateDistortion(codec, files, setting))
    options.onProgress?.(points.length, total)
  }
  for (const [index, file] of files.entries()) {
    const picture = await readPicture(file)
    // All at once: sharp encodes on threads of its own while pictures are compared on this one.
    const runs = BASELINE_NAMES.flatMap((name) =>
      qualitiesOf(name).map(async (quality) => {
        const { bytes, decoded } = await runBaseline(name, picture, quality)
        const key = `${name} ${quality}`
        rows.set(key, [...(rows.get(key) ?? []), compare(picture, decoded, bytes)])
      }),
    )
    await Promise.all(runs)
    options.onProgress?.(settings.length + index + 1, total)
  }
  const baselines = Object.fromEntries(
    BASELINE_NAMES.map((name) => [name, qualitiesOf(name).map((quality) => average(rows.get(`${name} ${quality}`)!))]),
  ) as Record<BaselineName, QualityPoint[]>
  const curve = (variant: string) => points.filter((point) => point.variant === variant)
  const against = (anchor: readonly QualityPoint[], test: readonly QualityPoint[]): number | null =>
    Math.min(anchor.length, test.length) < 2 ? null : round(bdRatePct(anchor, test), 2)
  const rates = options.variants.map((variant): [string, VariantRates] => {
    const own = curve(variant)
    const theirs = BASELINE_NAMES.map((name) => [name, against(baselines[name], own)])
    return [
      variant,
      { ...Object.fromEntries(theirs), first: against(curve(options.variants[0]!), own) } as VariantRates,
    ]
  })
  return { images: files.length, points, baselines, bdRatePct: Object.fromEntries(rates) }
}
