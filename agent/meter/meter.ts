import type { SlotId } from '@espalier/shared/ids'
import type { EnergySource, Telemetry } from '@espalier/shared/messages/device'
import type { EnergyCounter } from './energy-counter.ts'
import type { PowerModel } from './power-model.ts'

/** CPU seconds since boot, counting up. */
export interface CpuUse {
  readonly slots: ReadonlyMap<SlotId, number>
  /** Of the agent beside its slots. */
  readonly self: number
  /** Of the whole device, all processes. */
  readonly device: number
}

export interface SlotEnergy {
  readonly joules: number
  readonly idleJoules: number
}

interface Account {
  readonly source: EnergySource
  readonly uncertainty: number
  joules: number
  idleJoules: number
  coveredMs: number
  readings: number
}

/** How many joules an interval cost, and how they divide. */
interface Interval {
  readonly idleJoules: number
  /** Joules for each CPU second of this agent's processes. */
  readonly joulesPerCpuSecond: number
}

export interface MeterOptions {
  /** Rails that do not overlap and whose sum is the device; empty: the model alone. */
  readonly counters: readonly EnergyCounter[]
  readonly model: PowerModel
  readonly cores: number
  readonly slots: readonly SlotId[]
  readonly startMs: number
  /** A sensor was lost or came back. */
  readonly onSensor: (change: { readonly isReadable: boolean; readonly message: string }) => void
}

export const MODEL_SOURCE: EnergySource = {
  source: 'model:utilisation',
  rail: 'board',
  scope: 'modelled',
  method: 'model',
}

/**
 * Turns readings and CPU seconds into joules of the device, of each slot and of the agent itself.
 *
 * An interval is booked to the sensors or, when one of them cannot be read, to the model; never to both and never as
 * nothing, so the sum over sources is the energy since boot. The idle part is divided among the slots (a camera would
 * idle without them too, but somebody must carry it); the agent's own cost is what its work adds.
 * The model sees this agent's processes: work of others on a shared machine is not this device's.
 */
export class Meter {
  readonly #options: MeterOptions
  readonly #accounts: Account[]
  readonly #modelled: Account
  readonly #slots: Map<SlotId, { joules: number; idleJoules: number }>
  #selfJoules = 0
  #lastMs: number
  #last: CpuUse | undefined
  #isReadable = true

  constructor(options: MeterOptions) {
    this.#options = options
    this.#lastMs = options.startMs
    const open = (source: EnergySource, uncertainty: number): Account => ({
      source,
      uncertainty,
      joules: 0,
      idleJoules: 0,
      coveredMs: 0,
      readings: 0,
    })
    this.#accounts = options.counters.map(({ source, uncertainty }) => open(source, uncertainty))
    this.#modelled = open(MODEL_SOURCE, options.model.uncertainty)
    this.#slots = new Map(options.slots.map((slot) => [slot, { joules: 0, idleJoules: 0 }]))
    this.#readCounters(options.startMs)
  }

  get selfJoules(): number {
    return this.#selfJoules
  }

  /** @throws {RangeError} If the meter was not opened with this slot. */
  slot(slot: SlotId): SlotEnergy {
    const energy = this.#slots.get(slot)
    if (energy === undefined) throw new RangeError(`Cannot tell energy of slot "${slot}": the meter does not know it`)
    return { ...energy }
  }

  /** Where joules come from on this device. */
  sources(): EnergySource[] {
    return this.#used().map(({ source }) => source)
  }

  /** Book the time since the last sample. */
  sample(nowMs: number, use: CpuUse): void {
    const elapsedMs = nowMs - this.#lastMs
    if (elapsedMs <= 0) return
    const last = this.#last ?? { slots: new Map(), self: 0, device: 0 }
    const slotSeconds = [...this.#slots.keys()].map(
      (slot) => [slot, Math.max(0, (use.slots.get(slot) ?? 0) - (last.slots.get(slot) ?? 0))] as const,
    )
    const selfSeconds = Math.max(0, use.self - last.self)
    const ownSeconds = slotSeconds.reduce((sum, [, seconds]) => sum + seconds, selfSeconds)
    const deviceSeconds = Math.max(ownSeconds, use.device - last.device)

    const readings = this.#readCounters(nowMs)
    const interval =
      readings === undefined ? this.#bookModel(elapsedMs, ownSeconds) : this.#book(readings, elapsedMs, deviceSeconds)
    for (const [slot, seconds] of slotSeconds) {
      const energy = this.#slots.get(slot)!
      const idleJoules = interval.idleJoules / slotSeconds.length
      energy.idleJoules += idleJoules
      energy.joules += idleJoules + seconds * interval.joulesPerCpuSecond
    }
    this.#selfJoules += selfSeconds * interval.joulesPerCpuSecond
    this.#lastMs = nowMs
    this.#last = { ...use, slots: new Map(use.slots) }
  }

  telemetry(nowMs: number): Telemetry['energy'] {
    const sinceBootMs = Math.max(1, nowMs - this.#options.startMs)
    return this.#used().map(({ source, uncertainty, joules, idleJoules, coveredMs, readings }) => ({
      ...source,
      joules,
      idleJoules,
      uncertainty,
      coverage: Math.min(1, coveredMs / sinceBootMs),
      rateHz: (readings * 1000) / sinceBootMs,
    }))
  }

  #used(): Account[] {
    const needsModel = this.#accounts.length === 0 || this.#modelled.coveredMs > 0
    return needsModel ? [...this.#accounts, this.#modelled] : this.#accounts
  }

  /** Joules by rail; undefined when not all of them are known for this interval. */
  #readCounters(nowMs: number): number[] | undefined {
    const joules: Array<number | undefined> = []
    let failure: unknown
    for (const counter of this.#options.counters) {
      try {
        joules.push(counter.take(nowMs))
      } catch (error) {
        failure = error
        joules.push(undefined)
      }
    }
    if (this.#isReadable !== (failure === undefined)) {
      this.#isReadable = failure === undefined
      const message = failure instanceof Error ? `${failure.message}; joules are modelled` : 'Sensors can be read again'
      this.#options.onSensor({ isReadable: this.#isReadable, message })
    }
    const known = joules.filter((value) => value !== undefined)
    return known.length === 0 || known.length < joules.length ? undefined : known
  }

  #book(readings: readonly number[], elapsedMs: number, deviceSeconds: number): Interval {
    const joules = readings.reduce((sum, value) => sum + value, 0)
    // A package may idle below what the table says of the board: idle is never more than all.
    const idleJoules = Math.min(joules, (this.#options.model.idleW * elapsedMs) / 1000)
    for (const [i, account] of this.#accounts.entries()) {
      account.joules += readings[i]!
      account.idleJoules += joules > 0 ? (idleJoules * readings[i]!) / joules : 0
      account.coveredMs += elapsedMs
      account.readings++
    }
    return { idleJoules, joulesPerCpuSecond: deviceSeconds > 0 ? (joules - idleJoules) / deviceSeconds : 0 }
  }

  #bookModel(elapsedMs: number, ownSeconds: number): Interval {
    const { idleW, fullW } = this.#options.model
    const idleJoules = (idleW * elapsedMs) / 1000
    const joulesPerCpuSecond = (fullW - idleW) / this.#options.cores
    const account = this.#modelled
    account.joules += idleJoules + ownSeconds * joulesPerCpuSecond
    account.idleJoules += idleJoules
    account.coveredMs += elapsedMs
    account.readings++
    return { idleJoules, joulesPerCpuSecond }
  }
}
