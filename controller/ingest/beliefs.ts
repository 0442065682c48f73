import { parseConfigurationId } from '@espalier/shared/configuration'
import { type CauseKeys, type CauseReading, type PeerResiduals, predictCauses } from '../estimate/causes.ts'
import { startDrift, updateDrift } from '../estimate/drift.ts'
import { reopenFactor } from '../estimate/factor.ts'
import { learnLatencyK, START_LATENCY_K } from '../estimate/latency-bound.ts'
import { type FaultKind, type SensorState, startSensor, updateSensor } from '../estimate/sensor-fault.ts'
import {
  keysOf,
  noSlotPrior,
  poolSlots,
  ratiosOf,
  type SlotEstimate,
  type SlotPrior,
  type TelemetryWindow,
  updateEstimate,
} from '../estimate/slot-estimate.ts'
import type { SlotBirth } from '../plan/catalogue.ts'
import type { Nominal } from '../plan/predict.ts'
import type { DeviceRecord, Fleet } from './fleet.ts'

/** A class is pooled again when each of its slots has been heard about so often. */
const POOL_AFTER_READINGS = 30
/** A class of fewer says nothing against one of its devices. */
const LEAST_MEMBERS = 3

interface Pooled {
  readonly prior: SlotPrior
  /** Readings until it is pooled again. */
  left: number
}

/** Something about a device that people should look at. */
export interface Notice {
  readonly kind: 'latency-drift' | 'power-drift' | 'sensor-fault' | 'sensor-sound'
  /** `device/slot`. */
  readonly subject: string
  readonly message: string
}

const FAULTS: Readonly<Record<FaultKind, string>> = {
  jumps: 'its joules jump by more than threefold between readings',
  stuck: 'its power reading does not move',
  implausible: 'its J/frame is far from that of all others of its class',
}

/**
 * What is believed of slots: their own estimates, what devices of one class share, and how wide bounds must be. Priors are a
 * function of the stored estimates, so they outlive restarts with them; k is stored with the margins of limits; a faulty sensor is found again within a minute.
 */
export class Beliefs {
  readonly #fleet: Fleet
  readonly #pooled = new Map<string, Pooled>()
  readonly #sensors = new Map<string, SensorState>()
  #latencyK: number

  constructor(fleet: Fleet, latencyK: number = START_LATENCY_K) {
    this.#fleet = fleet
    this.#latencyK = latencyK
  }

  get latencyK(): number {
    return this.#latencyK
  }

  #classOf(device: DeviceRecord, slot: SlotBirth): string {
    const { backend, threads } = slot.backends[0]!
    return [device.birth!.deviceClass, slot.family, backend, threads].join(' ')
  }

  #faultOf(device: DeviceRecord, slot: SlotBirth): FaultKind | undefined {
    return this.#sensors.get(`${device.id}/${slot.slot}`)?.fault
  }

  /** What its class says of a slot. Those with a faulty sensor have no say. */
  priorOf(device: DeviceRecord, slot: SlotBirth): SlotPrior {
    const key = this.#classOf(device, slot)
    const known = this.#pooled.get(key)
    if (known !== undefined && known.left > 0) return known.prior
    const members = this.#fleet.list().flatMap((peer): SlotEstimate[] =>
      (peer.birth?.slots ?? []).flatMap((other) => {
        const estimate = peer.estimates.get(other.slot)
        const isSound = this.#faultOf(peer, other) === undefined
        return estimate !== undefined && isSound && this.#classOf(peer, other) === key ? [estimate] : []
      }),
    )
    const prior = members.length === 0 ? noSlotPrior : poolSlots(members)
    this.#pooled.set(key, { prior, left: POOL_AFTER_READINGS * Math.max(1, members.length) })
    return prior
  }

  /** What a slot is planned by. */
  of(device: DeviceRecord, slot: SlotBirth): { estimate: SlotEstimate; peers: PeerResiduals; latencyK: number } {
    const prior = this.priorOf(device, slot)
    const own = device.estimates.get(slot.slot) ?? prior.start
    const { energy, basePower } = prior.start
    const estimate = this.#faultOf(device, slot) === undefined ? own : { ...own, energy, basePower }
    return { estimate, peers: prior.residuals, latencyK: this.#latencyK }
  }

  /** Take in what a slot did between two messages. */
  learn(
    device: DeviceRecord,
    slot: SlotBirth,
    window: TelemetryWindow,
    nominal: Nominal,
    nowMs: number,
  ): { estimate: SlotEstimate; notices: readonly Notice[] } {
    const prior = this.priorOf(device, slot)
    const before = device.estimates.get(slot.slot) ?? prior.start
    const configuration = parseConfigurationId(window.configuration)
    if (configuration === undefined) return { estimate: before, notices: [] }
    const keys = keysOf(configuration, nominal.sending)
    const reading = window.frames > 0 ? ratiosOf(window, nominal) : {}
    const notices: Notice[] = []
    const isBelieved = this.#checkSensor(device, slot, window, reading, keys, notices)
    const believed = isBelieved ? window : { ...window, dynamicJoules: Number.NaN, baseJoules: Number.NaN }
    let estimate = updateEstimate(before, believed, nominal, prior.residuals)
    if (reading.latency !== undefined && reading.latency > 0)
      this.#latencyK = learnLatencyK(
        this.#latencyK,
        { before: before.latency, after: estimate.latency },
        keys.work,
        Math.log(reading.latency),
        prior.residuals.latency,
      )
    const believedReading = isBelieved ? reading : { latency: reading.latency }
    estimate = this.#followDrift(device, slot, estimate, believedReading, keys, window.seconds, nowMs, notices)
    const pooled = this.#pooled.get(this.#classOf(device, slot))
    if (pooled !== undefined) pooled.left--
    device.estimates.set(slot.slot, estimate)
    return { estimate, notices }
  }

  #checkSensor(
    device: DeviceRecord,
    slot: SlotBirth,
    window: TelemetryWindow,
    { energy }: CauseReading,
    keys: CauseKeys,
    notices: Notice[],
  ): boolean {
    const subject = `${device.id}/${slot.slot}`
    const state = this.#sensors.get(subject) ?? startSensor
    const prior = this.priorOf(device, slot)
    const own = device.estimates.get(slot.slot)
    const log = energy === undefined || window.frames === 0 ? undefined : Math.log(Math.max(1e-9, energy))
    const expected = own && predictCauses(own, keys, prior.residuals).energy.mean
    const ofClass = predictCauses(prior.start, keys, prior.residuals).energy
    const next = updateSensor(state, {
      watts: (window.dynamicJoules + window.baseJoules) / window.seconds,
      frames: window.frames,
      deviation: log === undefined || expected === undefined ? undefined : log - expected,
      fromClass:
        log === undefined || prior.members < LEAST_MEMBERS
          ? undefined
          : { deviation: log - ofClass.mean, sigma: Math.sqrt(ofClass.variance) },
      isModelled: window.isModelled,
    })
    this.#sensors.set(subject, next)
    if (next.fault !== state.fault)
      notices.push(
        next.fault === undefined
          ? { kind: 'sensor-sound', subject, message: `The power of "${subject}" is believed again` }
          : {
              kind: 'sensor-fault',
              subject,
              message: `Cannot believe the power of "${subject}": ${FAULTS[next.fault]}; it is planned by what its class draws`,
            },
      )
    return next.fault === undefined
  }

  #followDrift(
    device: DeviceRecord,
    slot: SlotBirth,
    estimate: SlotEstimate,
    reading: CauseReading,
    keys: CauseKeys,
    seconds: number,
    nowMs: number,
    notices: Notice[],
  ): SlotEstimate {
    let { drift = { latency: startDrift, energy: startDrift } } = estimate
    let next = estimate
    for (const cause of ['latency', 'energy'] as const) {
      const ratio = reading[cause]
      if (ratio === undefined || !(ratio > 0)) continue
      const deviation = Math.log(ratio) - (estimate[cause].residuals[keys.work]?.mean ?? 0)
      const updated = updateDrift(drift[cause], { deviation, seconds }, nowMs)
      drift = { ...drift, [cause]: updated.drift }
      if (updated.found === undefined) continue
      const { shift, sinceMs } = updated.found
      next = { ...next, [cause]: reopenFactor(next[cause], shift) }
      const subject = `${device.id}/${slot.slot}`
      const percent = 100 * (Math.exp(shift) - 1)
      notices.push({
        kind: cause === 'latency' ? 'latency-drift' : 'power-drift',
        subject,
        message: `The ${cause === 'latency' ? 'latency' : 'energy of a frame'} of "${subject}" drifted ${percent > 0 ? '+' : ''}${percent.toFixed(0)} % since ${new Date(sinceMs).toISOString()}`,
      })
    }
    return { ...next, drift }
  }
}
