import { type Configuration, parseConfigurationId } from '@espalier/shared/configuration'
import { z } from 'zod'
import type { Nominal, Sending } from '../plan/predict.ts'
import {
  type CauseKeys,
  type CauseReading,
  causesSchema,
  learnCauses,
  type PeerResiduals,
  startCauses,
} from './causes.ts'
import { type ClassPrior, noClass, poolClass } from './class-prior.ts'
import { driftSchema } from './drift.ts'

/** What was learned about one slot of one device, relative to the manifest's cards. */
export const slotEstimateSchema = causesSchema.unwrap().extend({
  /** The slot's share of what the device draws beside encoding: idle, and the agent itself. */
  basePower: z.object({ meanW: z.number().min(0), varianceW2: z.number().min(0), readings: z.int().min(0) }),
  /** How latency and J/frame run away from what they were; absent before the first reading. */
  drift: z.object({ latency: driftSchema, energy: driftSchema }).optional(),
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
  /** Joules are computed and not read. */
  readonly isModelled: boolean
  readonly latencyP50S: number | undefined
  readonly psnrDb: number | undefined
}

/** Multiply-accumulates say nothing of entropy coding and copying, hence the mean of the latency's prior. */
export const priorEstimate: SlotEstimate = {
  ...startCauses({
    bits: { mean: 0, variance: 0.25 ** 2, noise: 0.01 },
    latency: { mean: Math.log(1.3), variance: 0.3 ** 2, noise: 0.01 },
    energy: { mean: Math.log(1.3), variance: 0.4 ** 2, noise: 0.02 },
    quality: { mean: 0, variance: 4, noise: 1 },
  }),
  basePower: { meanW: 2, varianceW2: 1, readings: 0 },
}

const BASE_POWER_WEIGHT = 0.2

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

/**
 * Alpha and frame rate do not change the work of a frame; backend and threads do not change its stream.
 *
 * @param sending Says where all results take the same.
 */
export const keysOf = (
  { variant, alpha255, width, height, mode, backend, threads }: Configuration,
  { key }: Pick<Sending, 'key'> = {},
): CauseKeys => ({
  work: `${variant}/${width}x${height}/${mode}/${backend}${threads}`,
  stream: key ?? `${variant}/a${alpha255}/${width}x${height}`,
})

/** Measured / nominal of a window with frames. */
export function ratiosOf(window: TelemetryWindow, nominal: Nominal): CauseReading {
  const { frames, latencyP50S, psnrDb } = window
  return {
    bits: window.bits / frames / nominal.bitsPerFrame,
    latency: latencyP50S === undefined ? undefined : latencyP50S / nominal.latencyS,
    energy: window.dynamicJoules / frames / nominal.joulesPerFrame,
    qualityDb: psnrDb === undefined || nominal.psnrDb === undefined ? undefined : psnrDb - nominal.psnrDb,
  }
}

/** Learn from a window. Causes that the window says nothing about stay as they were. */
export function updateEstimate(
  estimate: SlotEstimate,
  window: TelemetryWindow,
  nominal: Nominal,
  peers?: PeerResiduals,
): SlotEstimate {
  const basePower =
    window.seconds > 0 ? updateBasePower(estimate.basePower, window.baseJoules / window.seconds) : estimate.basePower
  const configuration = parseConfigurationId(window.configuration)
  if (window.frames <= 0 || configuration === undefined) return { ...estimate, basePower }
  return {
    ...learnCauses(estimate, ratiosOf(window, nominal), keysOf(configuration, nominal.sending), peers),
    basePower,
    ...(estimate.drift === undefined ? {} : { drift: estimate.drift }),
    configuration: window.configuration,
  }
}

export type SlotPrior = ClassPrior<SlotEstimate>
export const noSlotPrior: SlotPrior = noClass(priorEstimate)

/** What the slots of a class and family say of a new one; base power is the mean of theirs. */
export function poolSlots(members: readonly SlotEstimate[]): SlotPrior {
  const pooled = poolClass(members, priorEstimate)
  const heard = members.filter(({ basePower }) => basePower.readings > 0).map(({ basePower }) => basePower)
  if (heard.length === 0) return pooled
  const meanW = heard.reduce((sum, b) => sum + b.meanW, 0) / heard.length
  const spread = heard.reduce((sum, b) => sum + b.varianceW2 + (b.meanW - meanW) ** 2, 0)
  const varianceW2 = (priorEstimate.basePower.varianceW2 + spread) / (1 + heard.length)
  return { ...pooled, start: { ...pooled.start, basePower: { meanW, varianceW2, readings: 0 } } }
}
