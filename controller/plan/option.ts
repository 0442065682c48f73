import { type Configuration, configurationId, isSameGraph } from '@espalier/shared/configuration'
import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { PeerResiduals } from '../estimate/causes.ts'
import { START_LATENCY_K } from '../estimate/latency-bound.ts'
import type { SlotEstimate } from '../estimate/slot-estimate.ts'
import { catalogueOf, type Entry, type SlotBirth } from './catalogue.ts'
import {
  type Prediction,
  predict,
  type StreamFactors,
  streamFactors,
  toNominal,
  type WorkFactors,
  workFactors,
} from './predict.ts'
import type { Choice } from './problem.ts'
import { type Quality, utilityOf } from './quality.ts'

/** A slot as the plan sees it. */
export interface SlotInput {
  /** `device/slot`. */
  readonly key: string
  readonly site: string
  readonly birth: SlotBirth
  readonly manifest: Manifest
  readonly estimate: SlotEstimate
  /** What other devices of the class found of configurations that never ran here. */
  readonly peers?: PeerResiduals | undefined
  /** A frame must be done in time at this many standard deviations; learned from what readings missed. */
  readonly latencyK?: number | undefined
  /** What the last plan chose; staying near it is worth a little. */
  readonly planned: Configuration | undefined
  /** The gateway that its site's uplink goes through. */
  readonly gateway?: string | undefined
  /** Of the grid that feeds its site, whole g/kWh. */
  readonly carbonGPerKwh?: number | undefined
  /** Its part of what its device may draw, idle included. */
  readonly maxPowerW?: number | undefined
}

/** A configuration with its prediction. `utility` includes the bonus for staying, `merit` does not. */
export interface Option extends Choice {
  readonly configuration: Configuration
  readonly prediction: Prediction
  readonly merit: number
  readonly meetsDeadline: boolean
  readonly meetsFloor: boolean
  readonly meetsCap: boolean
}

/**
 * What runs already is given up later than it would be taken up, at this share of the deviations, so that a busy device does
 * not move to and fro.
 */
const STAYING_SHARE = 0.25

/** Standard deviations that a frame's latency is taken to be above its mean where it is held against its interval. */
export const deadlineSigmas = (latencyK: number, isStaying: boolean): number =>
  (isStaying ? STAYING_SHARE : 1) * latencyK
/**
 * Bonuses by what stays, as shares of the weight. A change of variant or size costs a warm-up, a change of frame
 * rate or alpha almost nothing; the last only keeps noise from moving the plan.
 */
const SAME_GRAPH_BONUS = 0.02
const SAME_FRAME_RATE_BONUS = 0.01
const SAME_CONFIGURATION_BONUS = 0.005

/** By the card: what is measured moves, and a floor is what somebody relies on. */
const meetsFloor = ({ psnrDb, accuracyPct = 0 }: Quality, { minPsnrDb = 0, minAccuracyPct = 0 }: SlotBirth): boolean =>
  psnrDb === undefined ? accuracyPct >= minAccuracyPct : psnrDb >= minPsnrDb

function stayingShare(configuration: Configuration, planned: Configuration | undefined, isSame: boolean): number {
  if (planned === undefined) return 0
  return (
    (isSameGraph(configuration, planned) ? SAME_GRAPH_BONUS : 0) +
    (planned.frameRate === configuration.frameRate ? SAME_FRAME_RATE_BONUS : 0) +
    (isSame ? SAME_CONFIGURATION_BONUS : 0)
  )
}

function makeOption(
  { id, configuration, cost }: Entry,
  input: SlotInput,
  plannedId: string | undefined,
  work: WorkFactors,
  stream: StreamFactors,
): Option {
  const { birth, estimate, planned } = input
  const nominal = toNominal(cost, birth)
  const prediction = predict(configuration.frameRate, nominal, estimate, work, stream)
  const merit = utilityOf(prediction, configuration.frameRate, birth)
  const bonus = birth.weight * stayingShare(configuration, planned, id === plannedId)
  const isStaying = isSameGraph(configuration, planned) && configuration.frameRate === planned?.frameRate
  const sigmas = deadlineSigmas(input.latencyK ?? START_LATENCY_K, isStaying)
  const slowestS = prediction.latencyS * Math.exp(sigmas * prediction.latencySigmaLog)
  return {
    id,
    configuration,
    prediction,
    rateBps: Math.ceil(prediction.rateBps),
    rateSigmaBps: Math.ceil(prediction.rateSigmaBps),
    powerMw: Math.ceil(prediction.powerW * 1000),
    powerSigmaMw: Math.ceil(prediction.powerSigmaW * 1000),
    utility: Math.round((merit + bonus) * 1e6),
    merit,
    meetsDeadline: slowestS <= DEADLINE_SHARE / configuration.frameRate,
    meetsFloor: meetsFloor(nominal, birth),
    meetsCap: prediction.powerW <= (input.maxPowerW ?? Number.POSITIVE_INFINITY),
  }
}

/** What the device would not refuse for its memory; all, where that is nothing: it runs one of them even so. */
function withRoom(entries: readonly Entry[], { maxWorkerBytes }: SlotBirth): readonly Entry[] {
  if (maxWorkerBytes === undefined || entries.every(({ memoryBytes }) => memoryBytes <= maxWorkerBytes)) return entries
  const fitting = entries.filter(({ memoryBytes }) => memoryBytes <= maxWorkerBytes)
  return fitting.length > 0 ? fitting : entries
}

/** Every configuration of a slot that its device has room for, in order of id. */
export function listOptions(input: SlotInput): readonly Option[] {
  const { birth, manifest, estimate, peers, planned } = input
  const { entries, works, streams } = catalogueOf(birth, manifest)
  const plannedId = planned && configurationId(planned)
  const workOf = works.map((key) => workFactors(estimate, key, peers))
  const streamOf = streams.map((key) => streamFactors(estimate, key, peers))
  return withRoom(entries, birth).map((entry) =>
    makeOption(entry, input, plannedId, workOf[entry.workAt]!, streamOf[entry.streamAt]!),
  )
}

/** One of those that `listOptions()` gives, by its position. */
export function optionAt(input: SlotInput, at: number): Option {
  const { birth, manifest, estimate, peers, planned } = input
  const { entries, works, streams } = catalogueOf(birth, manifest)
  const entry = withRoom(entries, birth)[at]!
  const work = workFactors(estimate, works[entry.workAt]!, peers)
  const stream = streamFactors(estimate, streams[entry.streamAt]!, peers)
  return makeOption(entry, input, planned && configurationId(planned), work, stream)
}

/** What no option of a slot keeps: its deadline and floor at once, or its part of what its device may draw as well. */
export type Forced = 'deadline' | 'device power'

/**
 * Those that the plan may choose. Where no option keeps deadline, floor and the device's power at once, one remains: a slot
 * always runs something, and an alarm says so. Where deadline and floor alone can be kept, it is the one of the least
 * power; otherwise the fastest that keeps the floor, or else the fastest of all.
 */
export function allowedOptions(options: readonly Option[]): { allowed: readonly Option[]; forced?: Forced } {
  const inTime = options.filter((o) => o.meetsDeadline && o.meetsFloor)
  const allowed = inTime.filter((o) => o.meetsCap)
  if (allowed.length > 0) return { allowed }
  const least = (of: readonly Option[], load: (o: Option) => number) => [
    of.reduce((a, b) => (load(b) < load(a) ? b : a)),
  ]
  if (inTime.length > 0) return { allowed: least(inTime, (o) => o.powerMw), forced: 'device power' }
  const aboveFloor = options.filter((o) => o.meetsFloor)
  const left = aboveFloor.length > 0 ? aboveFloor : options
  return { allowed: least(left, (o) => o.prediction.latencyS * o.configuration.frameRate), forced: 'deadline' }
}
