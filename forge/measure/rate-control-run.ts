import type { FrameReference, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { controlFrame, createRateControl } from '@espalier/shared/codec/rate-control'
import sharp from 'sharp'

export interface RateControlRun {
  readonly targetBps: number
  readonly frameRate: number
  /** Whether frames follow one another, or each is a key frame. */
  readonly isInter: boolean
  readonly meanBps: number
  /** Mean over target. */
  readonly meanRatio: number
  /** The fullest second over the target. */
  readonly worstWindowRatio: number
  readonly skipped: number
  readonly encodes: number
  /** Frames were coded at this share of their size: smaller where the lowest rate of the whole size is too much. */
  readonly scale: number
  /** Of the frames that were sent, at their own size. */
  readonly psnrDb: number
  /** `high`: the best quality costs less than the target; `low`: frames were skipped to stay under it. */
  readonly saturated: 'high' | 'low' | null
  readonly alphas: readonly number[]
}

/** What to hold, and of which sequence. */
export interface RateTarget {
  readonly targetBps: number
  readonly frameRate: number
  readonly isInter: boolean
}

const BURST = 1.15
const SCALES = [1, 0.75, 0.5]
/** More than this share of skipped frames is no video any more: the next smaller size is taken. */
const MAX_SKIPPED_SHARE = 0.02

async function resize(picture: Picture, scale: number): Promise<Picture> {
  if (scale === 1) return picture
  const { data, info } = await sharp(picture.rgb, {
    raw: { width: picture.width, height: picture.height, channels: 3 },
  })
    .resize(Math.round(picture.width * scale), Math.round(picture.height * scale), { fit: 'fill' })
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, rgb: data }
}

async function runAt(
  codec: PictureCodec,
  frames: readonly Picture[],
  { variant, frameRate, targetBps, isInter, scale }: RateTarget & { variant: string; scale: number },
): Promise<RateControlRun> {
  const pixels = frames[0]!.width * frames[0]!.height
  const { card } = codec.manifest.variants.find(({ id }) => id === variant)!
  const curve = card.map(({ alpha255, bitsPerPixel }) => ({ alpha255, bits: bitsPerPixel * pixels }))
  let control = createRateControl({ targetBps, frameRate, curve, burst: BURST })
  let reference: FrameReference | undefined
  let [encodes, quality] = [0, 0]
  const sent: { atS: number; bits: number; alpha255: number }[] = []
  for (const [i, frame] of frames.entries()) {
    const atS = i / frameRate
    const result = await controlFrame(
      control,
      { frameKind: i === 0 || !isInter ? 'key' : 'inter', atS },
      async (alpha255) => {
        encodes++
        const encoded = await codec.encode(frame, { variant, alpha255, reference: isInter ? reference : undefined })
        return { ...encoded, bits: encoded.stream.length * 8 }
      },
    )
    control = result.control
    if (result.sent === undefined) continue
    const decoded = await codec.decode(result.sent.stream, { reference })
    quality += psnrDb(decoded, frame)
    reference = result.sent.reference
    sent.push({ atS, bits: result.sent.bits, alpha255: result.sent.alpha255 })
  }
  const windows = sent.map(({ atS }) =>
    sent.filter((each) => each.atS > atS - 1 && each.atS <= atS).reduce((sum, { bits }) => sum + bits, 0),
  )
  const meanBps = (sent.reduce((sum, { bits }) => sum + bits, 0) * frameRate) / frames.length
  const skipped = frames.length - sent.length
  const atBest = sent.filter(({ alpha255 }) => alpha255 === 0).length > sent.length / 2
  return {
    targetBps,
    frameRate,
    isInter,
    meanBps,
    meanRatio: meanBps / targetBps,
    worstWindowRatio: Math.max(...windows) / targetBps,
    skipped,
    encodes,
    scale,
    psnrDb: quality / sent.length,
    saturated: skipped > MAX_SKIPPED_SHARE * frames.length ? 'low' : atBest ? 'high' : null,
    alphas: sent.map(({ alpha255 }) => alpha255),
  }
}

/** Hold a sequence to each of several rates; every stream is decoded as a receiver would. */
export async function measureRateControl(
  codec: PictureCodec,
  frames: readonly Picture[],
  { variant, targets }: { variant: string; targets: readonly RateTarget[] },
): Promise<RateControlRun[]> {
  const runs: RateControlRun[] = []
  for (const target of targets) {
    let run: RateControlRun | undefined
    for (const scale of SCALES) {
      const sized = await Promise.all(frames.map((frame) => resize(frame, scale)))
      run = await runAt(codec, sized, { variant, ...target, scale })
      if (run.saturated !== 'low') break
    }
    runs.push(run!)
  }
  return runs
}
