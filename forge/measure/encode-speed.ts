import type { Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import sharp, { type Sharp } from 'sharp'

export interface Contestant {
  readonly name: string
  readonly codec: PictureCodec
  readonly variant: string
}

export interface Timing {
  /** Milliseconds a frame, everything included that makes a file of pixels. */
  readonly medianMs: number
  readonly p10Ms: number
  readonly p90Ms: number
  readonly bytes: number
  readonly psnrDb: number
}

export interface EncodeSpeed {
  readonly threads: number
  readonly timings: Readonly<Record<string, Timing>>
  /** Contestant -> rival -> median over the rounds of the time ratio within a round. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, number>>>>
}

const WARM_UP_ROUNDS = 3
const ROUNDS = 21
const QUALITIES = [20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 96, 98]

/** What a user would pick instead; effort 4 is sharp's default for WebP and AVIF. */
const RIVALS: Readonly<Record<string, (image: Sharp, quality: number) => Sharp>> = {
  'jpeg 4:2:0': (image, quality) => image.jpeg({ quality, chromaSubsampling: '4:2:0' }),
  'webp 4': (image, quality) => image.webp({ quality, effort: 4 }),
  'avif 4': (image, quality) => image.avif({ quality, effort: 4, chromaSubsampling: '4:4:4' }),
  'avif 0': (image, quality) => image.avif({ quality, effort: 0, chromaSubsampling: '4:4:4' }),
}

const toSharp = ({ width, height, rgb }: Picture): Sharp => sharp(rgb, { raw: { width, height, channels: 3 } })

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

async function qualityOf(file: Uint8Array, picture: Picture): Promise<number> {
  const rgb = await sharp(file).removeAlpha().toColourspace('srgb').raw().toBuffer()
  return psnrDb({ ...picture, rgb }, picture)
}

/** The setting whose picture is nearest in PSNR to the one wanted. */
async function matchQuality(encode: (quality: number) => Promise<Uint8Array>, picture: Picture, wantedDb: number) {
  const tried = await Promise.all(
    QUALITIES.map(async (quality) => ({
      quality,
      away: Math.abs((await qualityOf(await encode(quality), picture)) - wantedDb),
    })),
  )
  return tried.reduce((best, each) => (each.away < best.away ? each : best)).quality
}

/**
 * Time one frame through each contestant and each rival at about the same PSNR: all in each round, in random order,
 * so that what else the machine does hits all alike.
 *
 * @param options.threads For sharp; the contestants' codecs were opened with their own.
 */
export async function measureEncodeSpeed(
  contestants: readonly Contestant[],
  picture: Picture,
  options: { alpha: number; threads: number },
): Promise<EncodeSpeed> {
  const before = sharp.concurrency()
  sharp.concurrency(options.threads)
  sharp.cache(false)
  try {
    const alpha255 = Math.round(options.alpha * 255)
    const runs = new Map<string, () => Promise<Uint8Array>>()
    const [timings, times]: [Record<string, Timing>, Record<string, number[]>] = [{}, {}]
    const quality: Record<string, number> = {}
    for (const { name, codec, variant } of contestants) {
      runs.set(name, async () => (await codec.encode(picture, { variant, alpha255 })).stream)
      quality[name] = psnrDb(await codec.decode(await runs.get(name)!()), picture)
    }
    for (const [name, encode] of Object.entries(RIVALS)) {
      const toFile = async (setting: number) => new Uint8Array(await encode(toSharp(picture), setting).toBuffer())
      const setting = await matchQuality(toFile, picture, quality[contestants[0]!.name]!)
      runs.set(name, () => toFile(setting))
      quality[name] = await qualityOf(await toFile(setting), picture)
    }
    const bytes: Record<string, number> = {}
    for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
      const order = [...runs].map((run) => ({ run, at: Math.random() })).sort((a, b) => a.at - b.at)
      for (const { run } of order) {
        const [name, encode] = run
        const started = performance.now()
        const file = await encode()
        const ms = performance.now() - started
        bytes[name] = file.length
        if (round >= 0) times[name] = [...(times[name] ?? []), ms]
      }
    }
    for (const [name, ms] of Object.entries(times))
      timings[name] = {
        medianMs: quantile(ms, 0.5),
        p10Ms: quantile(ms, 0.1),
        p90Ms: quantile(ms, 0.9),
        bytes: bytes[name]!,
        psnrDb: quality[name]!,
      }
    const ratios = Object.fromEntries(
      contestants.map(({ name }) => [
        name,
        Object.fromEntries(
          Object.keys(RIVALS).map((rival) => [
            rival,
            quantile(
              times[name]!.map((ms, i) => ms / times[rival]![i]!),
              0.5,
            ),
          ]),
        ),
      ]),
    )
    return { threads: options.threads, timings, ratios }
  } finally {
    sharp.concurrency(before)
    sharp.cache(true)
  }
}
