import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { PictureCodec } from '@espalier/shared/codec/picture-codec'
import { bdRatePct } from './bd-rate.ts'
import { type CodecPoint, rateDistortion } from './evaluate.ts'

/** Each trained from the shipped model for one alpha alone: what a fleet would hold without adapters. */
const TUNED_ALPHAS = [0, 0.33, 0.67, 1]
/** Alpha scales the latents and nothing else; also how large symbols are expected; also all of the contexts, as in the shipped model. */
const GAINS = ['gains', 'gains-biases', 'gains-contexts'] as const

export interface AdapterWorth {
  readonly tuned: readonly CodecPoint[]
  readonly gains: Readonly<Record<(typeof GAINS)[number], readonly CodecPoint[]>>
  /** Bits of the one model at equal PSNR against four models of one rate each, in per cent. */
  readonly againstTunedPct: number
  /** And against a model of which alpha scales no more than the latents. */
  readonly againstGainsPct: Readonly<Record<(typeof GAINS)[number], number>>
  /** Highest over lowest rate of the one model. */
  readonly rateRange: number
}

const tunedName = (alpha: number): string => `tune-${alpha.toFixed(alpha === 0 || alpha === 1 ? 1 : 2)}`

/** The families that the comparison needs, as folders below `root`, and that are not there. */
export function missingFamilies(root: string): string[] {
  return [...TUNED_ALPHAS.map(tunedName), ...GAINS].filter((name) => !existsSync(join(root, name, 'manifest.json')))
}

/**
 * What one model for all rates loses against a model for each, and what its low-rank pairs win over gains alone.
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
  const total = TUNED_ALPHAS.length + GAINS.length * alphas.length
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
  const gains = {
    gains: await run('gains', alphas),
    'gains-biases': await run('gains-biases', alphas),
    'gains-contexts': await run('gains-contexts', alphas),
  }
  const rates = one.map(({ bpp }) => bpp)
  return {
    tuned,
    gains,
    againstTunedPct: bdRatePct(tuned, one),
    againstGainsPct: {
      gains: bdRatePct(gains.gains, one),
      'gains-biases': bdRatePct(gains['gains-biases'], one),
      'gains-contexts': bdRatePct(gains['gains-contexts'], one),
    },
    rateRange: Math.max(...rates) / Math.min(...rates),
  }
}
