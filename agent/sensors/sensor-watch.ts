import { setTimeout as delay } from 'node:timers/promises'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { EnergyCounter } from '../meter/energy-counter.ts'
import { openCounter } from '../meter/open-counter.ts'
import type { SamplerOptions } from '../meter/power-sampler.ts'
import { type Candidate, PREFERENCES, type SensorSurroundings } from './candidate.ts'
import { type Choice, findSensors } from './find-sensors.ts'
import type { PmicCorrection } from './pi-pmic.ts'
import type { Plug } from './plug.ts'

/** Drivers load late, batteries are unplugged, meters on USB come and go; looking costs a process and some dozen files. */
const LOOK_EVERY_MS = 30_000

export interface SensorWatchOptions {
  readonly surroundings: SensorSurroundings
  readonly pmic: PmicCorrection | undefined
  readonly plug: Plug | undefined
  readonly sampling: SamplerOptions
  readonly onEvent: (event: DeviceEvent) => void
}

/** Whether it can be read now. */
async function isReadable({ measures }: Candidate): Promise<boolean> {
  try {
    await measures.probe.read()
    return true
  } catch {
    return false
  }
}

/**
 * Which of two to read from now on: the one that is read, until it fails or a better one is there. A sensor that fails is
 * looked for again even where the best one found has its name, because it may be at another place now.
 */
export async function chooseAgain(
  current: Candidate | undefined,
  found: Candidate | undefined,
): Promise<Candidate | undefined> {
  if (current === undefined || found === undefined)
    return current !== undefined && (await isReadable(current)) ? current : found
  const isBetter = PREFERENCES.indexOf(found.preference) < PREFERENCES.indexOf(current.preference)
  return !isBetter && (await isReadable(current)) ? current : found
}

/** Looks for the best sensor at the start and again and again, and reads the one that counts. */
export class SensorWatch {
  readonly #options: SensorWatchOptions
  #current: Candidate | undefined
  #counter: EnergyCounter | undefined
  #refused: Choice['refused'] = []
  #reading: AbortController | undefined

  constructor(options: SensorWatchOptions) {
    this.#options = options
  }

  /** Undefined: no sensor, the model has to do. */
  get counter(): EnergyCounter | undefined {
    return this.#counter
  }

  get refused(): Choice['refused'] {
    return this.#refused
  }

  /** The first look; says which sensors an operator could make usable. */
  async open(): Promise<void> {
    const { chosen, refused } = await this.#find()
    this.#refused = refused
    for (const { name, reason } of refused.filter(({ why }) => why === 'unreadable' || why === 'implausible'))
      this.#options.onEvent({ kind: 'sensor-unreadable', message: `${name}: ${reason}`.slice(0, 1000) })
    this.#take(chosen)
  }

  /** Read, and look again, until aborted. */
  async run(signal: AbortSignal, lookEveryMs = LOOK_EVERY_MS): Promise<void> {
    signal.addEventListener('abort', () => this.#reading?.abort(), { once: true })
    this.#read()
    while (!signal.aborted) {
      await delay(lookEveryMs, undefined, { signal, ref: false }).catch(() => undefined)
      if (!signal.aborted) await this.look()
      if (signal.aborted) this.#reading?.abort()
    }
  }

  /** Look again, and change where that is better. Joules of the time between come from the model. */
  async look(): Promise<void> {
    const before = this.#current
    const { chosen, refused } = await this.#find()
    this.#refused = refused
    const next = await chooseAgain(before, chosen)
    if (next === before) return
    this.#reading?.abort()
    this.#take(next)
    this.#read()
    const message = `Energy comes from ${next?.name ?? 'the model'} now, before from ${before?.name ?? 'the model'}`
    this.#options.onEvent({ kind: 'sensor-changed', message: message.slice(0, 1000) })
  }

  #find(): Promise<Choice> {
    const { surroundings, pmic, plug } = this.#options
    return findSensors(surroundings, { pmic, plug })
  }

  #take(candidate: Candidate | undefined): void {
    this.#current = candidate
    this.#counter = candidate && openCounter(candidate, this.#options.sampling)
  }

  #read(): void {
    this.#reading = new AbortController()
    void this.#counter?.run(this.#reading.signal)
  }
}
