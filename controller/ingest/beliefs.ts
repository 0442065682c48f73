import { parseConfigurationId } from '@espalier/shared/configuration'
import { learnLatencyK, START_LATENCY_K } from '../estimate/latency-bound.ts'
import {
  keysOf,
  noSlotPrior,
  poolSlots,
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

interface Pooled {
  readonly prior: SlotPrior
  /** Readings until it is pooled again. */
  left: number
}

/**
 * What is believed of slots: their own estimates, what devices of one class share, and how wide bounds must be. Priors are a
 * function of the stored estimates, so they outlive restarts with them.
 */
export class Beliefs {
  readonly #fleet: Fleet
  readonly #pooled = new Map<string, Pooled>()
  #latencyK = START_LATENCY_K

  constructor(fleet: Fleet) {
    this.#fleet = fleet
  }

  #classOf(device: DeviceRecord, slot: SlotBirth): string {
    const { backend, threads } = slot.backends[0]!
    return [device.birth!.deviceClass, slot.family, backend, threads].join(' ')
  }

  /** What its class says of a slot. */
  priorOf(device: DeviceRecord, slot: SlotBirth): SlotPrior {
    const key = this.#classOf(device, slot)
    const known = this.#pooled.get(key)
    if (known !== undefined && known.left > 0) return known.prior
    const members = this.#fleet.list().flatMap((peer): SlotEstimate[] =>
      (peer.birth?.slots ?? []).flatMap((other) => {
        const estimate = peer.estimates.get(other.slot)
        return estimate !== undefined && this.#classOf(peer, other) === key ? [estimate] : []
      }),
    )
    const prior = members.length === 0 ? noSlotPrior : poolSlots(members)
    this.#pooled.set(key, { prior, left: POOL_AFTER_READINGS * Math.max(1, members.length) })
    return prior
  }

  /** What a slot is planned by. */
  of(device: DeviceRecord, slot: SlotBirth) {
    const prior = this.priorOf(device, slot)
    return {
      estimate: device.estimates.get(slot.slot) ?? prior.start,
      peers: prior.residuals,
      latencyK: this.#latencyK,
    }
  }

  /** Take in what a slot did between two messages. */
  learn(device: DeviceRecord, slot: SlotBirth, window: TelemetryWindow, nominal: Nominal): SlotEstimate {
    const { estimate, peers } = this.of(device, slot)
    const learned = updateEstimate(estimate, window, nominal, peers)
    const configuration = parseConfigurationId(window.configuration)
    if (window.latencyP50S !== undefined && configuration !== undefined)
      this.#latencyK = learnLatencyK(
        this.#latencyK,
        { before: estimate.latency, after: learned.latency },
        keysOf(configuration).work,
        Math.log(window.latencyP50S / nominal.latencyS),
        peers.latency,
      )
    const pooled = this.#pooled.get(this.#classOf(device, slot))
    if (pooled !== undefined) pooled.left--
    device.estimates.set(slot.slot, learned)
    return learned
  }
}
