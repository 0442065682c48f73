import { EVENT_OVERHEAD_BITS, LINE_BITS, MAX_EVENTS_PER_S } from '@espalier/shared/classifier/event-rate'
import type { Configuration } from '@espalier/shared/configuration'
import {
  type ClassifierManifest,
  type ClassifierVariant,
  inputSize,
} from '@espalier/shared/manifest/classifier-manifest'
import type { SlotBirth } from './catalogue.ts'
import type { Cost } from './predict.ts'
import type { Quality } from './quality.ts'

/**
 * Moving a picture to the worker and resizing it, until telemetry says more: 18 ms of a core for 512 x 288 beside a network of
 * less than 1 ms, on the machine of docs/results. Seconds, not multiply-accumulates as of a codec: how many of those a
 * network that small does in a second says nothing of a device's speed.
 */
const OVERHEAD_S_PER_SOURCE_PIXEL = 1.2e-7

/** Runs in one place of one variant: the same class, backend, threads. */
const placeOf = ({ deviceClass, backend, threads }: NonNullable<ClassifierVariant['measured']>[number]): string =>
  `${deviceClass} ${backend} ${threads}`

/**
 * Multiply-accumulates that take as long as the variant: a device's speed is that of the family's first variant, and what is
 * quantised takes less time for each. Where the family's cards compare both on this backend they decide; else it is what
 * the graph counts.
 */
function timedMacs(
  { variants: [first] }: ClassifierManifest,
  variant: ClassifierVariant,
  { backend, threads }: Pick<Configuration, 'backend' | 'threads'>,
): number {
  const firstMs = new Map(first!.measured?.map((card) => [placeOf(card), card.latencyMs.p50]))
  const ratios = (variant.measured ?? [])
    .filter((card) => card.backend === backend && card.threads === threads && firstMs.has(placeOf(card)))
    .map((card) => card.latencyMs.p50 / firstMs.get(placeOf(card))!)
  if (ratios.length === 0) return variant.graph.macs
  return (first!.graph.macs * ratios.reduce((a, b) => a + b, 0)) / ratios.length
}

/**
 * How good each variant is, by id: its accuracy where all that were judged have one, else its agreement with the first,
 * which agrees with itself. A variant that nobody judged has no quality, and is not planned.
 */
export function qualityOfVariants({ variants }: ClassifierManifest): ReadonlyMap<string, Quality> {
  const judged = variants.flatMap(({ judged }) => judged ?? [])
  const isLabelled = judged.length > 0 && judged.every(({ accuracyPct }) => accuracyPct !== undefined)
  const percents = variants.flatMap(({ id, judged }, i): [string, number][] => {
    const percent = isLabelled ? judged?.accuracyPct : i === 0 ? 100 : judged?.agreementPct
    return percent === undefined ? [] : [[id, percent]]
  })
  const bestPct = Math.max(...percents.map(([, percent]) => percent))
  return new Map(percents.map(([id, accuracyPct]) => [id, { accuracyPct, bestPct }]))
}

/** @param variant Of the family. */
export function classifierCost(
  { backend, threads }: Configuration,
  variant: ClassifierVariant,
  { source }: Pick<SlotBirth, 'source'>,
  manifest: ClassifierManifest,
): Cost {
  const overheadS = source.width * source.height * OVERHEAD_S_PER_SOURCE_PIXEL
  return {
    backend,
    threads,
    bitsPerFrame: LINE_BITS,
    sending: { overheadBits: EVENT_OVERHEAD_BITS, maxPerS: MAX_EVENTS_PER_S, key: 'events' },
    networkMacs: timedMacs(manifest, variant, { backend, threads }),
    overheadMacs: 0,
    overheadS,
    ...qualityOfVariants(manifest).get(variant.id),
  }
}

/** Everything that may be planned for a slot. */
export function classifierShapes(
  manifest: ClassifierManifest,
): Pick<Configuration, 'variant' | 'alpha255' | 'width' | 'height'>[] {
  const { width, height } = inputSize(manifest.input)
  return [...qualityOfVariants(manifest).keys()].map((variant) => ({ variant, alpha255: 0, width, height }))
}
