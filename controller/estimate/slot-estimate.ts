import { z } from 'zod'
import type { Nominal } from '../plan/predict.ts'
import { startFilter, updateFilter } from './filter.ts'

const filterSchema = z.object({
  mean: z.number(),
  variance: z.number().min(0),
  noise: z.number().min(0),
  drift: z.number().min(0),
  surprise: z.union([z.literal(-1), z.literal(0), z.literal(1)]),
  readings: z.int().min(0),
})

/**
 * What was learned about one slot of one device, relative to the manifest's cards: one number for each cause, so
 * that a reading under any configuration informs the prediction of all others.
 */
export const slotEstimateSchema = z.object({
  /** Natural logarithm of measured / nominal. */
  bits: filterSchema,
  latency: filterSchema,
  energy: filterSchema,
  /** Measured minus nominal, dB. */
  quality: filterSchema,
  /** The slot's share of what the device draws beside encoding: idle, and the agent itself. */
  basePower: z.object({ meanW: z.number().min(0), varianceW2: z.number().min(0), readings: z.int().min(0) }),
  /** Configuration id of the last reading. */
  configuration: z.string().optional(),
})
export type SlotEstimate = z.infer<typeof slotEstimateSchema>

/** Counters between two telemetry messages of one boot under one configuration. */
export interface TelemetryWindow {
  readonly configuration: string
  readonly seconds: number
  readonly frames: number
  readonly bits: number
  /** Joules of the slot above idle. */
  readonly dynamicJoules: number
  /** The slot's share of the device's other joules. */
  readonly baseJoules: number
  readonly latencyP50S: number | undefined
  readonly psnrDb: number | undefined
}

/** Multiply-accumulates say nothing of entropy coding and copying, hence the mean of the latency's prior. */
export const priorEstimate: SlotEstimate = {
  bits: startFilter({ mean: 0, variance: 0.25 ** 2, noise: 0.01 }),
  latency: startFilter({ mean: Math.log(1.3), variance: 0.3 ** 2, noise: 0.01 }),
  energy: startFilter({ mean: Math.log(1.3), variance: 0.4 ** 2, noise: 0.02 }),
  quality: startFilter({ mean: 0, variance: 4, noise: 1 }),
  basePower: { meanW: 2, varianceW2: 1, readings: 0 },
}

const BASE_POWER_WEIGHT = 0.2
/** Decibels vary about ten times as much as the logarithms do. */
const QUALITY_SCALE = 10

function updateBasePower(base: SlotEstimate['basePower'], powerW: number): SlotEstimate['basePower'] {
  if (!Number.isFinite(powerW) || powerW < 0) return base
  if (base.readings === 0) return { meanW: powerW, varianceW2: (0.1 * powerW) ** 2, readings: 1 }
  const difference = powerW - base.meanW
  return {
    meanW: base.meanW + BASE_POWER_WEIGHT * difference,
    varianceW2: (1 - BASE_POWER_WEIGHT) * (base.varianceW2 + BASE_POWER_WEIGHT * difference ** 2),
    readings: base.readings + 1,
  }
}

/** Learn from a window. Causes that the window says nothing about stay as they were. */
export function updateEstimate(estimate: SlotEstimate, window: TelemetryWindow, nominal: Nominal): SlotEstimate {
  const basePower =
    window.seconds > 0 ? updateBasePower(estimate.basePower, window.baseJoules / window.seconds) : estimate.basePower
  if (window.frames <= 0) return { ...estimate, basePower }
  const learn = (filter: SlotEstimate['bits'], measured: number | undefined, expected: number) =>
    measured === undefined || !(measured > 0) ? filter : updateFilter(filter, Math.log(measured / expected))
  return {
    bits: learn(estimate.bits, window.bits / window.frames, nominal.bitsPerFrame),
    latency: learn(estimate.latency, window.latencyP50S, nominal.latencyS),
    energy: learn(estimate.energy, window.dynamicJoules / window.frames, nominal.joulesPerFrame),
    quality:
      window.psnrDb === undefined
        ? estimate.quality
        : updateFilter(estimate.quality, window.psnrDb - nominal.psnrDb, QUALITY_SCALE),
    basePower,
    configuration: window.configuration,
  }
}
