import type { SlotId } from '@espalier/shared/ids'
import type { PowerReading } from './brake.ts'

/** Joules since boot. */
export interface SlotJoules {
  readonly joules: number
  readonly idleJoules: number
}

/** Shorter intervals are noise of the sensor's own steps. */
const LEAST_MS = 900

/**
 * What a lease of power is measured by: a slot's work, and its even share of whatever else the device draws. The controller
 * divides the fleet's power in the same way.
 */
export class PowerWatch {
  #last: { atMs: number; deviceJoules: number; slots: ReadonlyMap<SlotId, SlotJoules> } | undefined

  /**
   * @param deviceJoules Of the whole device since boot.
   * @returns Mean power of each slot since the last reading; undefined while that is too near.
   */
  read(
    atMs: number,
    deviceJoules: number,
    slots: ReadonlyMap<SlotId, SlotJoules>,
  ): ReadonlyMap<SlotId, Omit<PowerReading, 'expectedW'>> | undefined {
    const last = this.#last
    if (last !== undefined && atMs - last.atMs < LEAST_MS) return undefined
    this.#last = { atMs, deviceJoules, slots: new Map(slots) }
    if (last === undefined || slots.size === 0) return undefined
    const durationMs = atMs - last.atMs
    const dynamic = [...slots].map(([slot, now]) => {
      const before = last.slots.get(slot) ?? { joules: 0, idleJoules: 0 }
      return [slot, now.joules - now.idleJoules - (before.joules - before.idleJoules)] as const
    })
    const allDynamic = dynamic.reduce((sum, [, joules]) => sum + joules, 0)
    const share = Math.max(0, deviceJoules - last.deviceJoules - allDynamic) / slots.size
    return new Map(
      dynamic.map(([slot, joules]) => [slot, { atMs, durationMs, powerW: ((share + joules) * 1000) / durationMs }]),
    )
  }
}
