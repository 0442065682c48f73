import type { MachineState } from '../sensors/machine-watch.ts'
import type { SystemFiles } from '../sensors/system-files.ts'

/** Of the Battery Status API, which some browsers have. */
interface Battery {
  readonly charging: boolean
  /** 0..1. */
  readonly level: number
}

/** Of the Compute Pressure API, which some browsers have. */
type Pressure = 'nominal' | 'fair' | 'serious' | 'critical'
interface PressureObserverLike {
  observe(source: 'cpu', options: { sampleInterval: number }): Promise<void>
  disconnect(): void
}
type PressureObserverClass = new (
  onRecords: (records: readonly { readonly state: Pressure }[]) => void,
) => PressureObserverLike

const PRESSURE_EVERY_MS = 2000
/** Where the kernel of a computer would show its battery: headroom is read from there. */
const SUPPLIES = '/sys/class/power_supply'

/** What a browser tells of the machine under it: charge of the battery, and how hard the processor is pressed. */
export class PageSensors {
  #battery: Battery | undefined
  #pressure: Pressure | undefined
  #observer: PressureObserverLike | undefined

  async open(): Promise<void> {
    const { getBattery } = navigator as { getBattery?: () => Promise<Battery> }
    this.#battery = await getBattery?.call(navigator).catch(() => undefined)
    const { PressureObserver } = globalThis as { PressureObserver?: PressureObserverClass }
    if (PressureObserver === undefined) return
    this.#observer = new PressureObserver((records) => {
      this.#pressure = records.at(-1)?.state
    })
    await this.#observer.observe('cpu', { sampleInterval: PRESSURE_EVERY_MS }).catch(() => undefined)
  }

  close(): void {
    this.#observer?.disconnect()
  }

  /** In words, for labels and people. */
  describe(): { readonly battery: string; readonly pressure: string } {
    const battery = this.#battery
    return {
      battery:
        battery === undefined
          ? 'not told'
          : `${Math.round(battery.level * 100)} %, ${battery.charging ? 'charging or on mains' : 'discharging'}`,
      pressure: this.#pressure ?? 'not told',
    }
  }

  /** The battery as a kernel would show it. */
  files(others: SystemFiles): SystemFiles {
    const battery = (): Record<string, string> => {
      const { level, charging } = this.#battery!
      return {
        [`${SUPPLIES}/browser/type`]: 'Battery',
        [`${SUPPLIES}/browser/capacity`]: String(Math.round(level * 100)),
        [`${SUPPLIES}/browser/status`]: charging ? 'Charging' : 'Discharging',
      }
    }
    const isHere = (path: string): boolean => this.#battery !== undefined && path.startsWith(SUPPLIES)
    return {
      list: (path) => (isHere(path) && path === SUPPLIES ? ['browser'] : others.list(path)),
      read: (path) => (isHere(path) ? battery()[path] : undefined) ?? others.read(path),
    }
  }

  /** Pressure is what a browser calls a processor that is slowed down by heat or load. */
  amend(state: MachineState): MachineState {
    const { battery } = this.describe()
    const isPressed = this.#pressure === 'serious' || this.#pressure === 'critical'
    return {
      ...state,
      throttledNow: [...state.throttledNow, ...(isPressed ? [`cpu-pressure-${this.#pressure}`] : [])],
      ...(this.#battery === undefined ? {} : { powerMode: `battery ${battery}`.slice(0, 40) }),
    }
  }
}
