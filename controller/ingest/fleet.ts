import type { DeviceId } from '@espalier/shared/ids'
import type { Desired } from '@espalier/shared/messages/controller'
import type { Birth, Reported, State } from '@espalier/shared/messages/device'
import type { SlotEstimate } from '../estimate/slot-estimate.ts'
import type { Store } from '../store/open-store.ts'
import { Beliefs } from './beliefs.ts'
import type { RecentWindow } from './recent-window.ts'

/** What the controller knows of a device now. Changed by ingest and the planner only. */
export interface DeviceRecord {
  readonly id: DeviceId
  state: State['state']
  reason: string | undefined
  bd: number
  lastSeenMs: number
  birth: Birth | undefined
  reported: Reported | undefined
  /** The last committed desired state. */
  desired: Desired | undefined
  /** Counters at the beginning and end of the last seconds; undefined before any since the start. */
  recent: RecentWindow | undefined
  readonly estimates: Map<string, SlotEstimate>
}

const CONNECTED = new Set<State['state']>(['init', 'ready', 'trial', 'degraded'])

export function isConnected(device: DeviceRecord): boolean {
  return CONNECTED.has(device.state)
}

/** All devices that were ever seen, in order of id. */
export class Fleet {
  readonly #devices = new Map<DeviceId, DeviceRecord>()
  readonly beliefs: Beliefs
  /** In order of id; undefined after a device was added. */
  #sorted: readonly DeviceRecord[] | undefined

  /** @param latencyK As learned before; absent: to be learned. */
  constructor(latencyK?: number) {
    this.beliefs = new Beliefs(this, latencyK)
  }

  /** Start from what the store knows. */
  static load(store: Store): Fleet {
    const fleet = new Fleet(store.bounds.load()?.latencyK)
    for (const { id, ...row } of store.devices.list()) Object.assign(fleet.open(id), row)
    for (const birth of store.births.list()) fleet.open(birth.device).birth = birth
    for (const [device, desired] of store.desired.list()) fleet.open(device).desired = desired
    for (const { device, slot, estimate } of store.telemetry.estimates())
      fleet.#devices.get(device as DeviceId)?.estimates.set(slot, estimate)
    return fleet
  }

  get(id: string): DeviceRecord | undefined {
    return this.#devices.get(id as DeviceId)
  }

  /** The record of a device; a new one if it was never seen. */
  open(id: DeviceId): DeviceRecord {
    const known = this.#devices.get(id)
    if (known !== undefined) return known
    const record: DeviceRecord = {
      id,
      state: 'lost',
      reason: undefined,
      bd: 0,
      lastSeenMs: 0,
      birth: undefined,
      reported: undefined,
      desired: undefined,
      recent: undefined,
      estimates: new Map(),
    }
    this.#devices.set(id, record)
    this.#sorted = undefined
    return record
  }

  list(): DeviceRecord[] {
    this.#sorted ??= [...this.#devices.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    return [...this.#sorted]
  }
}
