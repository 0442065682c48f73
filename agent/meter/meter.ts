import type { Clock } from '@espalier/shared/clock'
import type { SlotId } from '@espalier/shared/ids'
import type { EnergySource, Telemetry } from '@espalier/shared/messages/device'
import { type EnergyCounter, NOTHING_TAKEN, type Taken } from './energy-counter.ts'
import { type EnergyMark, samplingHalfWidth } from './energy-window.ts'
import { IdleBaseline } from './idle-baseline.ts'
import { modelHalfWidthW, type PowerModel } from './power-model.ts'

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
  joules: number
  idleJoules: number
  coveredMs: number
  readings: number
  changes: number
  failures: number
  varianceJ2: number
  scaleJ: number
}

/** CPU seconds of an interval. */
interface Spent {
  readonly slots: ReadonlyArray<readonly [SlotId, number]>
  readonly self: number
  /** Of this agent's processes, slots included. */
  readonly own: number
  readonly device: number
}

/** The work of a part of an interval: nobody knows when in it the work was done. */
function shareOf({ slots, self, own, device }: Spent, share: number): Spent {
  const parts = slots.map(([slot, seconds]) => [slot, seconds * share] as const)
  return { slots: parts, self: self * share, own: own * share, device: device * share }
}

/** Joules of an interval: of an idle board, and for each CPU second of this agent's processes on top. */
interface Cost {
  readonly joules: number
  readonly idleJoules: number
  readonly joulesPerCpuSecond: number
}

export interface MeterOptions {
  /** What is measured now; undefined: the model alone. May be another one later. */
  readonly counter: () => EnergyCounter | undefined
  readonly model: PowerModel
  readonly cores: number
  readonly slots: readonly SlotId[]
  readonly clock: Clock
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
 * Every moment is booked to the sensor or, when nobody measured it, to the model; never to both and never as nothing, so
 * the sum over sources is the energy since boot. The idle part is divided among the slots (a camera would
 * idle without them too, but somebody must carry it); the agent's own cost is what its work adds.
 * The model sees this agent's processes: work of others on a shared machine is not this device's.
 */
export class Meter {
  readonly #options: MeterOptions
  readonly #accounts = new Map<string, Account>()
  readonly #slots: Map<SlotId, { joules: number; idleJoules: number }>
  readonly #startMs: number
  readonly idle = new IdleBaseline()
  #selfJoules = 0
  /** Until when everything is booked. */
  #bookedMs: number
  #counter: EnergyCounter | undefined
  #last: CpuUse = { slots: new Map(), self: 0, device: 0 }
  #isReadable = true

  constructor(options: MeterOptions) {
    this.#options = options
    this.#startMs = options.clock.monotonicMs()
    this.#bookedMs = this.#startMs
    this.#slots = new Map(options.slots.map((slot) => [slot, { joules: 0, idleJoules: 0 }]))
    this.#counter = options.counter()
    this.#counter?.begin(this.#startMs)
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
    const current = this.#counter?.source ?? MODEL_SOURCE
    return [current, ...[...this.#accounts.values()].map(({ source }) => source).filter((each) => each !== current)]
  }

  /** Book the time since the last sample. */
  sample(use: CpuUse): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs <= this.#bookedMs) return
    const taken = this.#take(nowMs)
    const elapsedMs = taken.knownMs + taken.missingMs
    // A slow sensor has not answered yet: the work goes with the joules of the next time.
    if (elapsedMs === 0) return
    this.#bookedMs += elapsedMs
    const spent = this.#spend(use)
    if (taken.knownMs > 0) {
      const meanwhile = shareOf(spent, taken.knownMs / elapsedMs)
      this.#divide(this.#bookSensor(taken, meanwhile), meanwhile)
    }
    if (taken.missingMs > 0) {
      const meanwhile = shareOf(spent, taken.missingMs / elapsedMs)
      this.#divide(this.#bookModel(taken.missingMs, meanwhile), meanwhile)
    }
  }

  /** The counters now, for windows between two moments. */
  mark(): EnergyMark {
    const accounts = [...this.#accounts.values()]
    const sum = (of: (account: Account) => number): number => accounts.reduce((total, each) => total + of(each), 0)
    return {
      atMs: this.#bookedMs,
      joules: sum(({ joules }) => joules),
      idleJoules: sum(({ idleJoules }) => idleJoules),
      modelledJoules: this.#accounts.get(MODEL_SOURCE.source)?.joules ?? 0,
      coveredMs: sum(({ coveredMs, source }) => (source.method === 'model' ? 0 : coveredMs)),
      readings: sum(({ readings, source }) => (source.method === 'integral' ? readings : 0)),
      changes: sum(({ changes, source }) => (source.method === 'integral' ? changes : 0)),
      varianceJ2: sum(({ varianceJ2 }) => varianceJ2),
      scaleJ: sum(({ scaleJ }) => scaleJ),
    }
  }

  telemetry(): Telemetry['energy'] {
    const sinceBootMs = Math.max(1, this.#bookedMs - this.#startMs)
    return [...this.#accounts.values()].map((account) => {
      const { source, joules, idleJoules, coveredMs, readings, changes, failures, varianceJ2, scaleJ } = account
      const samplingJ = samplingHalfWidth(readings, changes, varianceJ2)
      const isCurrent = this.#counter?.source.source === source.source
      return {
        ...source,
        joules,
        idleJoules,
        uncertainty: joules > 0 ? Math.hypot(samplingJ, scaleJ) / joules : 0,
        samplingJ,
        coverage: Math.min(1, coveredMs / sinceBootMs),
        rateHz: (readings * 1000) / sinceBootMs,
        failures,
        costShare: isCurrent ? this.#counter!.costShare : 0,
      }
    })
  }

  #take(nowMs: number): Taken {
    const current = this.#options.counter()
    if (current !== this.#counter) {
      this.#counter = current
      // Whoever changed it says so.
      this.#isReadable = true
      // Up to now nobody who still counts has counted.
      current?.begin(nowMs)
      return { ...NOTHING_TAKEN, missingMs: nowMs - this.#bookedMs }
    }
    if (current === undefined) return { ...NOTHING_TAKEN, missingMs: nowMs - this.#bookedMs }
    const taken = current.take(nowMs)
    if (taken.failures > 0) this.#account(current.source).failures += taken.failures
    const isReadable = taken.missingMs <= taken.knownMs
    if (taken.knownMs + taken.missingMs > 0 && this.#isReadable !== isReadable) {
      this.#isReadable = isReadable
      const message = isReadable
        ? `Sensor "${current.source.source}" can be read again`
        : `${taken.failure ?? `No answer of sensor "${current.source.source}"`}; joules are modelled`
      this.#options.onSensor({ isReadable, message })
    }
    return taken
  }

  #spend(use: CpuUse): Spent {
    const last = this.#last
    const slots = [...this.#slots.keys()].map(
      (slot) => [slot, Math.max(0, (use.slots.get(slot) ?? 0) - (last.slots.get(slot) ?? 0))] as const,
    )
    const self = Math.max(0, use.self - last.self)
    const own = slots.reduce((sum, [, seconds]) => sum + seconds, self)
    this.#last = { ...use, slots: new Map(use.slots) }
    return { slots, self, own, device: Math.max(own, use.device - last.device) }
  }

  #account(source: EnergySource): Account {
    let account = this.#accounts.get(source.source)
    if (account === undefined) {
      const nothing = { joules: 0, idleJoules: 0, coveredMs: 0, readings: 0, changes: 0, failures: 0 }
      account = { source, ...nothing, varianceJ2: 0, scaleJ: 0 }
      this.#accounts.set(source.source, account)
    }
    return account
  }

  #bookSensor(taken: Taken, spent: Spent): Cost {
    const { source, uncertainty, uncertaintyW } = this.#counter!
    const { model, cores, clock } = this.#options
    const { joules } = taken
    const seconds = taken.knownMs / 1000
    if (taken.missingMs === 0)
      this.idle.observe({
        source: source.source,
        joules,
        seconds,
        busyShare: spent.device / (cores * seconds),
        nowMs: clock.monotonicMs(),
      })
    const baseline = this.idle.of(source.source)
    // Until it is measured, idle is what a table says of the board, and never more than all: a package idles below that.
    const idleJoules = baseline === undefined ? Math.min(joules, model.idleW * seconds) : baseline.watts * seconds
    const account = this.#account(source)
    account.joules += joules
    account.idleJoules += idleJoules
    account.coveredMs += taken.coveredMs
    account.readings += taken.readings
    account.changes += taken.changes
    account.varianceJ2 += taken.varianceJ2
    account.scaleJ += joules * uncertainty + seconds * uncertaintyW
    const dynamicJoules = joules - idleJoules
    return { joules, idleJoules, joulesPerCpuSecond: spent.device > 0 ? dynamicJoules / spent.device : 0 }
  }

  #bookModel(missingMs: number, spent: Spent): Cost {
    const { model, cores } = this.#options
    const seconds = missingMs / 1000
    const idleJoules = model.idleW * seconds
    const joulesPerCpuSecond = (model.fullW - model.idleW) / cores
    const joules = idleJoules + spent.own * joulesPerCpuSecond
    const account = this.#account(MODEL_SOURCE)
    account.joules += joules
    account.idleJoules += idleJoules
    account.coveredMs += missingMs
    account.readings++
    account.scaleJ += modelHalfWidthW(model, spent.own / (cores * seconds)) * seconds
    return { joules, idleJoules, joulesPerCpuSecond }
  }

  #divide({ joules, idleJoules, joulesPerCpuSecond }: Cost, spent: Spent): void {
    // Below the baseline, work has no cost of its own that could be told: what there is, all carry alike.
    const carried = joulesPerCpuSecond < 0 ? joules : idleJoules
    const perCpuSecond = Math.max(0, joulesPerCpuSecond)
    for (const [slot, seconds] of spent.slots) {
      const energy = this.#slots.get(slot)!
      energy.idleJoules += idleJoules / spent.slots.length
      energy.joules += carried / spent.slots.length + seconds * perCpuSecond
    }
    this.#selfJoules += spent.self * perCpuSecond
  }
}
