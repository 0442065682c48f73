import type { Configuration } from '@espalier/shared/configuration'
import { ModelError } from '@espalier/shared/errors'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { NO_PEERS } from '../estimate/causes.ts'
import { predictFactor } from '../estimate/factor.ts'
import type { SlotEstimate } from '../estimate/slot-estimate.ts'
import type { SlotBirth } from './catalogue.ts'
import { classifierCost } from './classifier-cost.ts'
import type { Quality } from './quality.ts'

/** How the results of frames go to the uplink. */
export interface Sending {
  /** Beside each result. */
  readonly overheadBits: number
  /** No more results than that are sent, however many frames there are. */
  readonly maxPerS: number
  /** Where results take the same whatever runs: what is learned of one is learned of all. */
  readonly key?: string
}

/** What the manifest's card says of a configuration, before anything was learned about the device. */
export interface Nominal extends Quality {
  readonly bitsPerFrame: number
  readonly sending: Sending
  readonly latencyS: number
  /** Above idle. */
  readonly joulesPerFrame: number
}

export type CodecNominal = Nominal & { readonly psnrDb: number }

/** Means with standard deviations: relative for the factors (log domain), in watts for power. */
export interface Prediction extends Quality {
  readonly rateBps: number
  readonly rateSigmaBps: number
  readonly latencyS: number
  readonly latencySigmaLog: number
  readonly powerW: number
  readonly powerSigmaW: number
}

/** Each stream, with the uplink header (16 bytes) and that of a WebSocket message (at most 14). */
const SENDING_STREAMS: Sending = { overheadBits: 8 * 30, maxPerS: Number.POSITIVE_INFINITY }
/** A busy core of a small board, until telemetry says more. */
export const DEFAULT_CORE_POWER_W = 4
/**
 * Reading, moving, resizing and entropy coding a frame cost about as much as this many multiply-accumulates for
 * each pixel of the source, whatever size is encoded: 60 ms beside 20 (256 x 144) or 80 (512 x 288) of the network
 * with two threads on the machine of docs/results. Without it a small size makes a large one look too slow.
 */
const OVERHEAD_MACS_PER_SOURCE_PIXEL = 3300

const meanSquaredError = (psnrDb: number): number => 10 ** (-psnrDb / 10)
const psnr = (mse: number): number => -10 * Math.log10(mse)

function interpolate<Point>(points: readonly Point[], x: (p: Point) => number, y: (p: Point) => number, at: number) {
  const sorted = [...points].sort((a, b) => x(a) - x(b))
  const after = sorted.findIndex((p) => x(p) >= at)
  if (after <= 0) return y(sorted[after === 0 ? 0 : sorted.length - 1]!)
  const [low, high] = [sorted[after - 1]!, sorted[after]!]
  return y(low) + ((at - x(low)) / (x(high) - x(low))) * (y(high) - y(low))
}

/** What resizing alone costs, relative to the peak squared; 0 at full size. */
function resizeError(manifest: CodecManifest, scale: number): number {
  const points = [
    ...manifest.resizeCard.map((p) => ({ scale: p.scale, mse: meanSquaredError(p.psnrDb) })),
    { scale: 1, mse: 0 },
  ]
  return interpolate(
    points,
    (p) => p.scale,
    (p) => p.mse,
    Math.min(1, scale),
  )
}

/** What a configuration costs on any device, of one source. */
export interface Cost extends Pick<Configuration, 'backend' | 'threads'>, Quality {
  readonly bitsPerFrame: number
  readonly sending: Sending
  /** Multiply-accumulates of the network, which threads divide, and of all around it, which they do not. */
  readonly networkMacs: number
  readonly overheadMacs: number
  /** Of one core, on top; absent: all of it is in `overheadMacs`. */
  readonly overheadS?: number
}

/** @throws {ModelError} If the family has no such variant. */
function variantOf<Variant extends { readonly id: string }>(
  { family, variants }: { readonly family: string; readonly variants: readonly Variant[] },
  wanted: string,
): Variant {
  const variant = variants.find(({ id }) => id === wanted)
  if (variant !== undefined) return variant
  throw new ModelError(`Cannot predict variant "${wanted}": "${family}" has ${variants.map(({ id }) => `"${id}"`)}`)
}

/** @throws {ModelError} If the family has no such variant. */
export function costOf(configuration: Configuration, slot: Pick<SlotBirth, 'source'>, manifest: Manifest): Cost {
  return manifest.task === 'image-codec'
    ? codecCost(configuration, slot, manifest)
    : classifierCost(configuration, variantOf(manifest, configuration.variant), slot, manifest)
}

function codecCost(configuration: Configuration, { source }: Pick<SlotBirth, 'source'>, manifest: CodecManifest): Cost {
  const variant = variantOf(manifest, configuration.variant)
  const { width, height, alpha255, backend, threads } = configuration
  const { stride } = manifest.latent
  const padded = Math.ceil(width / stride) * stride * Math.ceil(height / stride) * stride
  const scale = Math.sqrt((width * height) / (source.width * source.height))
  const card = (field: 'bitsPerPixel' | 'psnrDb') =>
    interpolate(
      variant.card,
      (p) => p.alpha255,
      (p) => p[field],
      alpha255,
    )
  return {
    bitsPerFrame: card('bitsPerPixel') * width * height,
    sending: SENDING_STREAMS,
    networkMacs: padded * variant.encoder.macsPerPixel,
    overheadMacs: source.width * source.height * OVERHEAD_MACS_PER_SOURCE_PIXEL,
    backend,
    threads,
    // Sizes are rounded to multiples of 16: a few rows more or less are not a scale.
    psnrDb: psnr(meanSquaredError(card('psnrDb')) + (scale > 0.9 ? 0 : resizeError(manifest, scale))),
  }
}

/** A cost on a device, at the speeds of the network that it measured for backends and threads. */
export function toNominal(
  {
    bitsPerFrame,
    sending,
    networkMacs,
    overheadMacs,
    overheadS = 0,
    backend,
    threads,
    psnrDb,
    accuracyPct,
    bestPct,
  }: Cost,
  { backends, macsPerSecond }: Pick<SlotBirth, 'backends' | 'macsPerSecond'>,
): Nominal {
  const measured = backends.find((each) => each.backend === backend && each.threads === threads)
  const networkS = networkMacs / (measured?.macsPerSecond ?? macsPerSecond * threads)
  return {
    bitsPerFrame,
    sending,
    latencyS: networkS + overheadMacs / macsPerSecond + overheadS,
    // All threads are busy meanwhile.
    joulesPerFrame: (networkS * threads + overheadS) * DEFAULT_CORE_POWER_W,
    psnrDb,
    accuracyPct,
    bestPct,
  }
}

/** @throws {ModelError} If the family has no such variant. */
export function predictNominal(configuration: Configuration, slot: SlotBirth, manifest: CodecManifest): CodecNominal
export function predictNominal(configuration: Configuration, slot: SlotBirth, manifest: Manifest): Nominal
export function predictNominal(configuration: Configuration, slot: SlotBirth, manifest: Manifest): Nominal {
  return toNominal(costOf(configuration, slot, manifest), slot)
}

/** What an estimate expects of the work of a frame: times the card, and how unsure that is (logarithms). */
export interface WorkFactors {
  readonly latencyTimes: number
  readonly latencySigmaLog: number
  readonly energyTimes: number
  readonly energySigmaLog: number
}
/** The same of its bits. */
export interface StreamFactors {
  readonly bitsTimes: number
  readonly bitsSigmaLog: number
}

/** @param work Key of the causes latency and energy. @param peers What devices of the class found of what never ran here. */
export function workFactors(estimate: SlotEstimate, work: string, peers = NO_PEERS): WorkFactors {
  const latency = predictFactor(estimate.latency, work, peers.latency)
  const energy = predictFactor(estimate.energy, work, peers.energy)
  return {
    latencyTimes: Math.exp(latency.mean),
    latencySigmaLog: Math.sqrt(latency.variance + estimate.latency.common.noise),
    energyTimes: Math.exp(energy.mean),
    energySigmaLog: Math.sqrt(energy.variance + estimate.energy.common.noise / 10),
  }
}

/** @param stream Key of the cause bits. */
export function streamFactors(estimate: SlotEstimate, stream: string, peers = NO_PEERS): StreamFactors {
  const bits = predictFactor(estimate.bits, stream, peers.bits)
  // A budget is kept over about ten seconds; the noise is that of one telemetry window of a second or so.
  const variance = bits.variance + estimate.bits.common.noise / 10
  return { bitsTimes: Math.exp(bits.mean), bitsSigmaLog: Math.sqrt(variance) }
}

export function predict(
  frameRate: number,
  nominal: Nominal,
  { basePower, quality }: Pick<SlotEstimate, 'basePower' | 'quality'>,
  work: WorkFactors,
  stream: StreamFactors,
): Prediction {
  const { overheadBits, maxPerS } = nominal.sending
  const sentPerS = Math.min(frameRate, maxPerS)
  const resultBps = nominal.bitsPerFrame * stream.bitsTimes * sentPerS
  const dynamicW = nominal.joulesPerFrame * work.energyTimes * frameRate
  return {
    rateBps: resultBps + overheadBits * sentPerS,
    rateSigmaBps: resultBps * stream.bitsSigmaLog,
    latencyS: nominal.latencyS * work.latencyTimes,
    latencySigmaLog: work.latencySigmaLog,
    powerW: basePower.meanW + dynamicW,
    powerSigmaW: Math.sqrt(basePower.varianceW2 + (dynamicW * work.energySigmaLog) ** 2),
    // What a device finds of a classifier is how it agrees with another variant: that says nothing of all the others.
    psnrDb: nominal.psnrDb === undefined ? undefined : nominal.psnrDb + quality.mean,
    accuracyPct: nominal.accuracyPct,
    bestPct: nominal.bestPct,
  }
}
