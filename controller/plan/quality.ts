/** How good results are, in the measure of their task: `psnrDb` of a codec, `accuracyPct` of a classifier. */
export interface Quality {
  readonly psnrDb?: number | undefined
  /** Pictures that are classed as labelled; of a family that was judged without labels, as its first variant does. */
  readonly accuracyPct?: number | undefined
  /** `accuracyPct` of the family's best variant. */
  readonly bestPct?: number | undefined
}

/** Quality in decibels at which a slot is worth half, and how fast that changes around it. */
const HALF_PSNR_DB = 32
const PSNR_SLOPE_DB = 3
const FRAME_RATE_EXPONENT = 0.35

/** What a slot's utility is measured by. */
export interface Valued {
  readonly weight: number
  readonly source: { readonly frameRate: number }
}

/** 0 to 1: a picture by its decibels, a class by its accuracy relative to the best that the family has. */
export function worthOf({ psnrDb, accuracyPct = 0, bestPct = 0 }: Quality): number {
  if (psnrDb !== undefined) return 1 / (1 + Math.exp(-(psnrDb - HALF_PSNR_DB) / PSNR_SLOPE_DB))
  return bestPct > 0 ? Math.min(1, accuracyPct / bestPct) : 0
}

/** 0 to `weight`. */
export function utilityOf(quality: Quality, frameRate: number, slot: Valued): number {
  return slot.weight * worthOf(quality) * Math.min(1, frameRate / slot.source.frameRate) ** FRAME_RATE_EXPONENT
}

/** Utility that one decibel, or one point of accuracy, more is worth at this quality. */
export function utilityPerPoint(quality: Quality, frameRate: number, slot: Valued): number {
  if (quality.psnrDb === undefined)
    return quality.bestPct === undefined ? 0 : utilityOf({ ...quality, accuracyPct: 1 }, frameRate, slot)
  return (utilityOf(quality, frameRate, slot) * (1 - worthOf(quality))) / PSNR_SLOPE_DB
}

/** What such a point is called. */
export const pointName = ({ psnrDb }: Quality): 'dB' | 'points of accuracy' =>
  psnrDb === undefined ? 'points of accuracy' : 'dB'

/** As messages and pages have it: the one that there is. */
export function shownQuality({ psnrDb, accuracyPct }: Quality): { psnrDb?: number; accuracyPct?: number } {
  if (psnrDb !== undefined) return { psnrDb }
  return accuracyPct === undefined ? {} : { accuracyPct }
}

/** The same of a change. @param to, from Of one slot. */
export function qualityChange(to: Quality, from: Quality): { psnrDb?: number; accuracyPct?: number } {
  if (to.psnrDb !== undefined && from.psnrDb !== undefined) return { psnrDb: to.psnrDb - from.psnrDb }
  if (to.accuracyPct === undefined || from.accuracyPct === undefined) return {}
  return { accuracyPct: to.accuracyPct - from.accuracyPct }
}
