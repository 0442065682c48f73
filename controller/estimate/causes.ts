import { z } from 'zod'
import { factorSchema, predictFactor, type Residuals, startFactor, updateFactor } from './factor.ts'
import { filterSchema, startFilter, updateFilter } from './filter.ts'

/**
 * What was learned about one slot of one device, relative to cards: one factor for each physical cause (content,
 * slowdown, power), natural logarithm of measured / nominal; quality is measured minus nominal, dB.
 */
export const causesSchema = z
  .object({ bits: factorSchema, latency: factorSchema, energy: factorSchema, quality: filterSchema })
  .readonly()
export type Causes = z.infer<typeof causesSchema>

/** What of a configuration matters to a cause: equal keys share a residual. */
export interface CauseKeys {
  /** Of latency and energy: alpha and frame rate do not change the work of a frame. */
  readonly work: string
  /** Of bits: backend and threads do not change the stream. */
  readonly stream: string
}

/** Residuals that a class found, for configurations that never ran on a device. */
export interface PeerResiduals {
  readonly bits: Residuals
  readonly latency: Residuals
  readonly energy: Residuals
}
export const NO_PEERS: PeerResiduals = { bits: {}, latency: {}, energy: {} }

/** Measured / nominal, and measured minus nominal dB; undefined where nothing was measured. */
export interface CauseReading {
  readonly bits?: number | undefined
  readonly latency?: number | undefined
  readonly energy?: number | undefined
  readonly qualityDb?: number | undefined
}

/** Decibels vary about ten times as much as the logarithms do. */
const QUALITY_SCALE = 10

export const startCauses = (
  prior: {
    readonly [cause in 'bits' | 'latency' | 'energy' | 'quality']: { mean: number; variance: number; noise: number }
  },
): Causes => ({
  bits: startFactor(prior.bits),
  latency: startFactor(prior.latency),
  energy: startFactor(prior.energy),
  quality: startFilter(prior.quality),
})

/** Learn from what was measured under one configuration. Causes without a positive, finite ratio stay as they were. */
export function learnCauses(causes: Causes, reading: CauseReading, keys: CauseKeys, peers = NO_PEERS): Causes {
  const learn = (cause: 'bits' | 'latency' | 'energy', key: string) => {
    const ratio = reading[cause]
    return ratio !== undefined && ratio > 0
      ? updateFactor(causes[cause], key, Math.log(ratio), peers[cause])
      : causes[cause]
  }
  return {
    bits: learn('bits', keys.stream),
    latency: learn('latency', keys.work),
    energy: learn('energy', keys.work),
    quality:
      reading.qualityDb === undefined ? causes.quality : updateFilter(causes.quality, reading.qualityDb, QUALITY_SCALE),
  }
}

/** Logarithms of measured / nominal that are expected of a configuration, without the noise of one reading. */
export function predictCauses(causes: Causes, keys: CauseKeys, peers = NO_PEERS) {
  return {
    bits: predictFactor(causes.bits, keys.stream, peers.bits),
    latency: predictFactor(causes.latency, keys.work, peers.latency),
    energy: predictFactor(causes.energy, keys.work, peers.energy),
    qualityDb: causes.quality.mean,
  }
}
