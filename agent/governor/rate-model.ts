import { eventRateBps, LINE_BITS } from '@espalier/shared/classifier/event-rate'
import type { Configuration } from '@espalier/shared/configuration'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { Rung } from '@espalier/shared/messages/controller'
import type { RateModel } from './governor.ts'

interface RatePoint {
  readonly alpha255: number
  readonly rate: number
}

/** Rates are nearly straight in alpha on a logarithmic scale; beyond the ends the nearest point holds. */
function interpolate(points: readonly RatePoint[], alpha255: number): number {
  const above = points.findIndex((point) => point.alpha255 >= alpha255)
  if (above === -1) return points.at(-1)!.rate
  const [low, high] = [points[Math.max(0, above - 1)]!, points[above]!]
  if (above === 0 || high.alpha255 === alpha255) return high.rate
  const share = (alpha255 - low.alpha255) / (high.alpha255 - low.alpha255)
  return low.rate * (high.rate / low.rate) ** share
}

const byAlpha = (a: RatePoint, b: RatePoint): number => a.alpha255 - b.alpha255

/** Equal in all but alpha. */
function hasShapeOf(a: Configuration, b: Configuration): boolean {
  return a.variant === b.variant && a.width === b.width && a.height === b.height && a.frameRate === b.frameRate
}

/**
 * What a configuration is expected to send, before this scene's own factor.
 *
 * Inside the alphas that the ladder names for a shape, the controller's figures decide; beyond them the family's card
 * says how much further the rate falls; for a shape that the ladder does not name, the card alone.
 *
 * @param card Of the configuration's variant, as in the manifest.
 * @returns Bits per second, > 0.
 */
export function expectedRateBps(
  configuration: Configuration,
  ladder: readonly Rung[],
  card: CodecManifest['variants'][number]['card'],
): number {
  const { alpha255, width, height, frameRate } = configuration
  const cardPoints = card.map((point) => ({ alpha255: point.alpha255, rate: point.bitsPerPixel })).sort(byAlpha)
  const cardRate = (alpha: number): number => interpolate(cardPoints, alpha) * width * height * frameRate
  const points = ladder
    .filter((rung) => rung.rateBps > 0 && hasShapeOf(rung.configuration, configuration))
    .map((rung) => ({ alpha255: rung.configuration.alpha255, rate: rung.rateBps }))
    .sort(byAlpha)
  const [first, last] = [points[0], points.at(-1)]
  if (first === undefined || last === undefined) return cardRate(alpha255)
  const held = Math.min(Math.max(alpha255, first.alpha255), last.alpha255)
  return (interpolate(points, held) * cardRate(alpha255)) / cardRate(held)
}

/** How a family's results use the uplink: a codec's by its cards and alpha, a classifier's by the events that it may send. */
export function rateModelOf(manifest: Manifest): RateModel {
  if (manifest.task === 'classification')
    return {
      expectedBits: () => LINE_BITS,
      expectedBps: ({ frameRate }) => eventRateBps(LINE_BITS, frameRate),
      sentBits: (bits, { frameRate }) => eventRateBps(bits, frameRate) / frameRate,
      maxAlpha255: 0,
    }
  const expectedBps: RateModel['expectedBps'] = (configuration, ladder) => {
    const variant = manifest.variants.find(({ id }) => id === configuration.variant) ?? manifest.variants[0]!
    return expectedRateBps(configuration, ladder, variant.card)
  }
  return {
    expectedBits: (configuration) => expectedBps(configuration, []) / configuration.frameRate,
    expectedBps,
    sentBits: (bits) => bits,
    maxAlpha255: 255,
  }
}
