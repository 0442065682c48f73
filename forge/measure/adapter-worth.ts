import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { PictureCodec } from '@espalier/shared/codec/picture-codec'
import { bdRatePct } from './bd-rate.ts'
import { type CodecPoint, rateDistortion } from './evaluate.ts'

/** Each trained from the shipped model for one alpha alone: what a fleet would hold without adapters. */
const TUNED_ALPHAS = [0, 0.33, 0.67, 1]
/** Alpha scales the latents and nothing else: by one step for all of them, or by one that each channel has learned. */
const SCALINGS = ['step', 'gains'] as const

export interface AdapterWorth {
  readonly tuned: readonly CodecPoint[]
  readonly scaled: Readonly<Record<(typeof SCALINGS)[number], readonly CodecPoint[]>>
  /** Bits of the one model at equal PSNR against four models of one rate each, in per cent. */
  readonly againstTunedPct: number
  /** And against a model of which alpha scales no more than the latents. */
  readonly againstScaledPct: Readonly<Record<(typeof SCALINGS)[number], number>>
  /** The same of the four models of one rate each: no adapter of any size could be expected to win more. */
  readonly tunedAgainstScaledPct: Readonly<Record<(typeof SCALINGS)[number], number>>
  /** Highest over lowest rate of the one model. */
  readonly rateRange: number
}

const tunedName = (alpha: number): string => `tune-${alpha.toFixed(alpha === 0 || alpha === 1 ? 1 : 2)}`

/** The families that the comparison needs, as folders below `root`, and that are not there. */
export function missingFamilies(root: string): string[] {
  return [...TUNED_ALPHAS.map(tunedName), ...SCALINGS].filter((name) => !existsSync(join(root, name, 'manifest.json')))
}

/**
 * What one model for all rates loses against a model for each, and what its low-rank pairs win over scaling the latents alone.
 *
 * @param one The shipped model's points, of variant `full`. @param root Folder of the families (forge/training/README.md).
 */
export async function measureAdapterWorth(
  one: readonly CodecPoint[],
  root: string,
  open: (directory: string) => Promise<PictureCodec>,
  files: readonly string[],
  onProgress?: (done: number, of: number) => void,
): Promise<AdapterWorth> {
  const alphas = one.map(({ alpha }) => alpha)
  const total = TUNED_ALPHAS.length + SCALINGS.length * alphas.length
  let done = 0
  const run = async (name: string, at: readonly number[]): Promise<CodecPoint[]> => {
    const codec = await open(join(root, name))
    try {
      const points: CodecPoint[] = []
      for (const alpha of at) {
        points.push(await rateDistortion(codec, files, { variant: 'full', alpha }))
        onProgress?.(++done, total)
      }
      return points
    } finally {
      await codec.close()
    }
  }
  const tuned: CodecPoint[] = []
  for (const alpha of TUNED_ALPHAS) tuned.push(...(await run(tunedName(alpha), [alpha])))
  const scaled = { step: await run('step', alphas), gains: await run('gains', alphas) }
  const against = (points: readonly CodecPoint[]) => ({
    step: bdRatePct(scaled.step, points),
    gains: bdRatePct(scaled.gains, points),
  })
  const rates = one.map(({ bpp }) => bpp)
  return {
    tuned,
    scaled,
    againstTunedPct: bdRatePct(tuned, one),
    againstScaledPct: against(one),
    tunedAgainstScaledPct: against(tuned),
    rateRange: Math.max(...rates) / Math.min(...rates),
  }
}
