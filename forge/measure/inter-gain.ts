import type { FrameReference, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { bdRatePct } from './bd-rate.ts'

export interface SequencePoint {
  readonly alpha: number
  readonly bitsPerFrame: number
  readonly psnrDb: number
  readonly keyFrames: number
  /** CPU seconds of this process for encoding all frames. */
  readonly encodeCpuS: number
}

export interface InterGain {
  readonly frames: number
  readonly intra: readonly SequencePoint[]
  readonly inter: readonly SequencePoint[]
  /** Bits of inter coding against intra at equal PSNR, the first key frame included. Negative is better. */
  readonly bdRatePct: number
}

async function runSequence(
  codec: PictureCodec,
  frames: readonly Picture[],
  options: { variant: string; alpha: number; isInter: boolean },
): Promise<SequencePoint> {
  const alpha255 = Math.round(options.alpha * 255)
  let sent: FrameReference | undefined
  let received: FrameReference | undefined
  let [bits, quality, keyFrames, cpuUs] = [0, 0, 0, 0]
  for (const frame of frames) {
    const before = process.cpuUsage()
    const encoded = await codec.encode(frame, { variant: options.variant, alpha255, reference: sent })
    const used = process.cpuUsage(before)
    cpuUs += used.user + used.system
    const decoded = await codec.decode(encoded.stream, { reference: received })
    if (options.isInter) sent = encoded.reference
    received = decoded.reference
    bits += encoded.stream.length * 8
    quality += psnrDb(decoded, frame)
    if (encoded.frameKind === 'key') keyFrames++
  }
  return {
    alpha: options.alpha,
    bitsPerFrame: bits / frames.length,
    psnrDb: quality / frames.length,
    keyFrames,
    encodeCpuS: cpuUs / 1e6,
  }
}

/** The same frames coded each on its own, and each after the one before; every stream is decoded as a receiver would. */
export async function measureInterGain(
  codec: PictureCodec,
  frames: readonly Picture[],
  options: { variant: string; alphas: readonly number[]; onProgress?: (done: number, of: number) => void },
): Promise<InterGain> {
  const run = async (isInter: boolean, offset: number): Promise<SequencePoint[]> => {
    const points: SequencePoint[] = []
    for (const [i, alpha] of options.alphas.entries()) {
      points.push(await runSequence(codec, frames, { variant: options.variant, alpha, isInter }))
      options.onProgress?.(offset + i + 1, 2 * options.alphas.length)
    }
    return points
  }
  const intra = await run(false, 0)
  const inter = await run(true, options.alphas.length)
  const pixels = frames[0]!.width * frames[0]!.height
  const curve = (points: readonly SequencePoint[]) =>
    points.map((point) => ({ bpp: point.bitsPerFrame / pixels, psnrDb: point.psnrDb }))
  return { frames: frames.length, intra, inter, bdRatePct: bdRatePct(curve(intra), curve(inter)) }
}
