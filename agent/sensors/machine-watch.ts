import { setTimeout as delay } from 'node:timers/promises'
import type { Telemetry } from '@espalier/shared/messages/device'
import type { SensorSurroundings } from './candidate.ts'
import { readClocksMhz } from './clocks.ts'
import { parsePowerMode } from './power-mode.ts'
import { isAbsent } from './system-files.ts'
import { readTemperatures } from './thermal.ts'
import { parseThrottled, readAlarms, type Throttling } from './throttling.ts'

/** Heat moves in seconds; each file costs up to half a millisecond. */
const PERIOD_MS = 5000
/** Programs cost a process each. */
const PERIODS_BETWEEN_COMMANDS = 6

export type MachineState = NonNullable<Telemetry['machine']>

/** Temperatures, clocks, throttling and power mode: what joules and latencies must be read with. */
export class MachineWatch {
  readonly #surroundings: SensorSurroundings
  /** Programs that are not here are not asked again. */
  readonly #programs = new Set(['vcgencmd', 'nvpmodel'])
  #firmware: Pick<Throttling, 'now' | 'past'> = { now: [], past: [] }
  #powerMode: string | undefined
  #state: MachineState | undefined

  constructor(surroundings: SensorSurroundings) {
    this.#surroundings = surroundings
  }

  /** Undefined before the first look. */
  get state(): MachineState | undefined {
    return this.#state
  }

  async run(signal: AbortSignal): Promise<void> {
    for (let period = 0; !signal.aborted; period++) {
      if (period % PERIODS_BETWEEN_COMMANDS === 0) await this.askPrograms()
      this.look()
      await delay(PERIOD_MS, undefined, { signal, ref: false }).catch(() => undefined)
    }
  }

  /** What firmware and power manager say, through their programs. */
  async askPrograms(): Promise<void> {
    await this.#ask('vcgencmd', 'get_throttled', (text) => {
      this.#firmware = parseThrottled(text)
    })
    await this.#ask('nvpmodel', '-q', (text) => {
      this.#powerMode = parsePowerMode(text)
    })
  }

  look(): void {
    const alarms = readAlarms(this.#surroundings)
    this.#state = {
      celsius: readTemperatures(this.#surroundings),
      clocksMhz: readClocksMhz(this.#surroundings),
      throttledNow: [...new Set([...this.#firmware.now, ...alarms.now])],
      throttledPast: [...this.#firmware.past],
      throttleEvents: { ...alarms.events },
      ...(this.#powerMode === undefined ? {} : { powerMode: this.#powerMode.slice(0, 40) }),
    }
  }

  async #ask(program: string, argument: string, use: (text: string) => void): Promise<void> {
    if (!this.#programs.has(program)) return
    try {
      use(await this.#surroundings.run(program, argument))
    } catch (error) {
      if (isAbsent(error)) this.#programs.delete(program)
    }
  }
}
