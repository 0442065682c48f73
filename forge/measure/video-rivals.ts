import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { ConfigError } from '@espalier/shared/errors'
import sharp, { type Sharp } from 'sharp'
import { bdRatePct } from './bd-rate.ts'

export interface VideoPoint {
  /** JPEG and WebP: quality; x264: constant rate factor; ours: alpha. */
  readonly setting: number
  readonly bitsPerFrame: number
  /** Mean over the frames of the PSNR over R, G and B. */
  readonly psnrDb: number
  /** CPU milliseconds a frame, user and system, colour conversion included. */
  readonly encodeCpuMs: number
}

export interface VideoRival {
  readonly points: readonly VideoPoint[]
  /** Our bits against this one's at equal PSNR, in per cent; negative where we need less. Null where no quality is shared. */
  readonly oursBdRatePct: number | null
  /** This one's CPU time a frame at the PSNR of our middle point. */
  readonly encodeCpuMsAtEqualPsnr: number
}

const STILLS = {
  mjpeg: {
    settings: [20, 35, 50, 65, 80, 90],
    encode: (picture: Picture, quality: number) => toSharp(picture).jpeg({ quality, chromaSubsampling: '4:2:0' }),
  },
  'webp, frame by frame': {
    settings: [10, 30, 50, 70, 82, 90],
    encode: (picture: Picture, quality: number) => toSharp(picture).webp({ quality, effort: 4 }),
  },
} as const

const X264_FACTORS = [18, 22, 26, 30, 34, 38]
/** One key frame, as ours has. */
const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-g', '9999', '-threads', '1']
const X264_RIVALS: Readonly<Record<string, readonly string[]>> = {
  'x264 veryfast': [...X264, '-pix_fmt', 'yuv420p'],
  'x264 veryfast, zero latency': [...X264, '-pix_fmt', 'yuv420p', '-tune', 'zerolatency'],
  'x264 veryfast, zero latency, 4:4:4': [...X264, '-pix_fmt', 'yuv444p', '-tune', 'zerolatency'],
  'x264 veryfast, every frame a key frame': [...X264, '-pix_fmt', 'yuv420p', '-tune', 'zerolatency', '-g', '1'],
}

const toSharp = ({ width, height, rgb }: Picture): Sharp => sharp(rgb, { raw: { width, height, channels: 3 } })

const meanPsnrDb = (frames: readonly Picture[], decoded: readonly Picture[]): number =>
  frames.reduce((sum, frame, i) => sum + psnrDb(frame, decoded[i]!), 0) / frames.length

async function runStills(
  frames: readonly Picture[],
  setting: number,
  encode: (picture: Picture, setting: number) => Sharp,
): Promise<VideoPoint> {
  const before = process.cpuUsage()
  const files: Buffer[] = []
  for (const frame of frames) files.push(await encode(frame, setting).toBuffer())
  const used = process.cpuUsage(before)
  const decoded: Picture[] = []
  for (const [i, file] of files.entries())
    decoded.push({ ...frames[i]!, rgb: await sharp(file).removeAlpha().toColourspace('srgb').raw().toBuffer() })
  return {
    setting,
    bitsPerFrame: (files.reduce((sum, file) => sum + file.length, 0) * 8) / frames.length,
    psnrDb: meanPsnrDb(frames, decoded),
    encodeCpuMs: (used.user + used.system) / 1e3 / frames.length,
  }
}

/** Run ffmpeg to its end. @throws {ConfigError} If it is absent or fails. */
function runFfmpeg(args: readonly string[], input: readonly Uint8Array[]): Promise<{ output: Buffer; log: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('ffmpeg', ['-hide_banner', '-nostats', '-benchmark', ...args])
    const output: Buffer[] = []
    let log = ''
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => (log += chunk))
    // Where it dies early, its exit says more than a broken pipe.
    child.stdin.on('error', () => {})
    child.on('error', (cause: NodeJS.ErrnoException) => {
      reject(new ConfigError(`Cannot run ffmpeg: ${cause.code}; install ffmpeg with libx264`, { cause }))
    })
    child.on('close', (code) => {
      if (code === 0) resolve({ output: Buffer.concat(output), log })
      else reject(new ConfigError(`Cannot encode with ffmpeg: exit ${code}: ${log.trim().split('\n').at(-1)}`))
    })
    child.stdin.end(Buffer.concat(input))
  })
}

/** User and system time of an ffmpeg run, as its -benchmark prints them, in seconds. */
function parseCpuS(log: string): number {
  const found = /bench: utime=([\d.]+)s stime=([\d.]+)s/.exec(log)
  if (found === null) throw new ConfigError('Cannot read the CPU time of ffmpeg: found no "bench: utime=" line')
  return Number(found[1]) + Number(found[2])
}

async function runX264(frames: readonly Picture[], factor: number, codec: readonly string[]): Promise<VideoPoint> {
  const { width, height } = frames[0]!
  const raw = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', `${width}x${height}`, '-r', '12.5', '-i', '-']
  const scale = ['-sws_flags', 'bicubic+accurate_rnd+full_chroma_int']
  const folder = await mkdtemp(join(tmpdir(), 'espalier-x264-'))
  try {
    const file = join(folder, 'clip.h264')
    const pictures = frames.map(({ rgb }) => rgb)
    const { log } = await runFfmpeg([...raw, ...scale, ...codec, '-crf', `${factor}`, '-f', 'h264', file], pictures)
    const { output } = await runFfmpeg(['-i', file, ...scale, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'], [])
    const size = width * height * 3
    if (output.length !== size * frames.length)
      throw new ConfigError(
        `Cannot compare with x264: found ${output.length / size} frames decoded, expected ${frames.length}`,
      )
    const decoded = frames.map((frame, i) => ({ ...frame, rgb: output.subarray(i * size, (i + 1) * size) }))
    return {
      setting: factor,
      bitsPerFrame: ((await readFile(file)).length * 8) / frames.length,
      psnrDb: meanPsnrDb(frames, decoded),
      encodeCpuMs: (parseCpuS(log) * 1e3) / frames.length,
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Linear in PSNR between the two nearest points, or the nearest point where there are not two. */
function cpuMsAt(points: readonly VideoPoint[], wantedDb: number): number {
  const sorted = [...points].sort((a, b) => a.psnrDb - b.psnrDb)
  const above = sorted.findIndex(({ psnrDb }) => psnrDb >= wantedDb)
  if (above <= 0) return (above === 0 ? sorted[0]! : sorted.at(-1)!).encodeCpuMs
  const [low, high] = [sorted[above - 1]!, sorted[above]!]
  const share = (wantedDb - low.psnrDb) / (high.psnrDb - low.psnrDb)
  return low.encodeCpuMs + share * (high.encodeCpuMs - low.encodeCpuMs)
}

/**
 * What a user would send from a camera instead, on the same frames: bits, PSNR and CPU time of real files. x264 runs
 * on one thread; its input is the same RGB, its output is compared in RGB, so that 4:2:0 pays for the colour it drops.
 *
 * @param ours At least three points of ours on the same frames.
 * @throws {ConfigError} If ffmpeg with libx264 is absent.
 */
export async function measureVideoRivals(
  frames: readonly Picture[],
  ours: readonly VideoPoint[],
  onProgress?: (done: number, of: number) => void,
): Promise<Record<string, VideoRival>> {
  const runs: [name: string, settings: readonly number[], run: (setting: number) => Promise<VideoPoint>][] = [
    ...Object.entries(X264_RIVALS).map(([name, codec]): (typeof runs)[number] => [
      name,
      X264_FACTORS,
      (factor) => runX264(frames, factor, codec),
    ]),
    ...Object.entries(STILLS).map(([name, { settings, encode }]): (typeof runs)[number] => [
      name,
      settings,
      (setting) => runStills(frames, setting, encode),
    ]),
  ]
  const pixels = frames[0]!.width * frames[0]!.height
  const toCurve = (points: readonly VideoPoint[]) =>
    points.map((point) => ({ bpp: point.bitsPerFrame / pixels, psnrDb: point.psnrDb }))
  const middleDb = [...ours].sort((a, b) => a.psnrDb - b.psnrDb)[Math.floor(ours.length / 2)]!.psnrDb
  const total = runs.reduce((sum, [, settings]) => sum + settings.length, 0)
  const rivals: Record<string, VideoRival> = {}
  let done = 0
  for (const [name, settings, run] of runs) {
    const points: VideoPoint[] = []
    for (const setting of settings) {
      points.push(await run(setting))
      onProgress?.(++done, total)
    }
    let oursBdRatePct: number | null = null
    try {
      oursBdRatePct = bdRatePct(toCurve(points), toCurve(ours))
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
    rivals[name] = { points, oursBdRatePct, encodeCpuMsAtEqualPsnr: cpuMsAt(points, middleDb) }
  }
  return rivals
}
