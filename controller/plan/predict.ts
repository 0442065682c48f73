import type { Configuration } from '@espalier/shared/configuration'
import { ModelError } from '@espalier/shared/errors'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import { type PeerResiduals, predictCauses } from '../estimate/causes.ts'
import { keysOf, type SlotEstimate } from '../estimate/slot-estimate.ts'
import type { SlotBirth } from './catalogue.ts'

/** What the manifest's card says of a configuration, before anything was learned about the device. */
export interface Nominal {
  readonly bitsPerFrame: number
  readonly latencyS: number
  /** Above idle. */
  readonly joulesPerFrame: number
  readonly psnrDb: number
}

/** Means with standard deviations: relative for the factors (log domain), in watts for power. */
export interface Prediction {
  readonly rateBps: number
  readonly rateSigmaBps: number
  readonly latencyS: number
  readonly latencySigmaLog: number
  readonly powerW: number
  readonly powerSigmaW: number
  readonly psnrDb: number
}

/** Beside its stream a frame costs the uplink header (16 bytes) and that of a WebSocket message (at most 14). */
const FRAME_OVERHEAD_BITS = 8 * 30
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
export interface Cost extends Pick<Configuration, 'backend' | 'threads'> {
  readonly bitsPerFrame: number
  /** Multiply-accumulates of the network, which threads divide, and of all around it, which they do not. */
  readonly networkMacs: number
  readonly overheadMacs: number
  readonly psnrDb: number
}

/** @throws {ModelError} If the family has no such variant. */
export function costOf(
  configuration: Configuration,
  { source }: Pick<SlotBirth, 'source'>,
  manifest: CodecManifest,
): Cost {
  const variant = manifest.variants.find(({ id }) => id === configuration.variant)
  if (variant === undefined)
    throw new ModelError(
      `Cannot predict variant "${configuration.variant}": "${manifest.family}" has ${manifest.variants.map(({ id }) => `"${id}"`)}`,
    )
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
  { bitsPerFrame, networkMacs, overheadMacs, backend, threads, psnrDb }: Cost,
  { backends, macsPerSecond }: Pick<SlotBirth, 'backends' | 'macsPerSecond'>,
): Nominal {
  const measured = backends.find((each) => each.backend === backend && each.threads === threads)
  const networkS = networkMacs / (measured?.macsPerSecond ?? macsPerSecond * threads)
  return {
    bitsPerFrame,
    latencyS: networkS + overheadMacs / macsPerSecond,
    // All threads are busy meanwhile.
    joulesPerFrame: networkS * threads * DEFAULT_CORE_POWER_W,
    psnrDb,
  }
}

/** @throws {ModelError} If the family has no such variant. */
export function predictNominal(configuration: Configuration, slot: SlotBirth, manifest: CodecManifest): Nominal {
  return toNominal(costOf(configuration, slot, manifest), slot)
}

/** @param peers What devices of the class found of configurations that never ran on this one. */
export function predict(
  configuration: Configuration,
  nominal: Nominal,
  estimate: SlotEstimate,
  peers?: PeerResiduals,
): Prediction {
  const { frameRate } = configuration
  const { bits, latency, energy, qualityDb } = predictCauses(estimate, keysOf(configuration), peers)
  const codecRateBps = nominal.bitsPerFrame * Math.exp(bits.mean) * frameRate
  const dynamicW = nominal.joulesPerFrame * Math.exp(energy.mean) * frameRate
  return {
    rateBps: codecRateBps + FRAME_OVERHEAD_BITS * frameRate,
    // A budget is kept over about ten seconds; the noise is that of one telemetry window of a second or so.
    rateSigmaBps: codecRateBps * Math.sqrt(bits.variance + estimate.bits.common.noise / 10),
    latencyS: nominal.latencyS * Math.exp(latency.mean),
    latencySigmaLog: Math.sqrt(latency.variance + estimate.latency.common.noise),
    powerW: estimate.basePower.meanW + dynamicW,
    powerSigmaW: Math.sqrt(
      estimate.basePower.varianceW2 + dynamicW ** 2 * (energy.variance + estimate.energy.common.noise / 10),
    ),
    psnrDb: nominal.psnrDb + qualityDb,
  }
}
