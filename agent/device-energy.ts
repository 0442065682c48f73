import type { SlotId } from '@espalier/shared/ids'
import type { Birth, DeviceEvent, Telemetry } from '@espalier/shared/messages/device'
import type { AgentConfig } from './config.ts'
import { PowerWatch } from './governor/power-watch.ts'
import type { Log } from './log.ts'
import { carbonIntensity, gramsOfCarbon } from './meter/carbon.ts'
import { IdleMemory } from './meter/idle-memory.ts'
import { Meter, type SlotEnergy } from './meter/meter.ts'
import { type BoardDescription, defaultPowerModel } from './meter/power-model.ts'
import { MachineWatch } from './sensors/machine-watch.ts'
import { openPlug, type Plug } from './sensors/plug.ts'
import { commandsOf } from './sensors/run-command.ts'
import { SensorWatch } from './sensors/sensor-watch.ts'
import type { AllSlots } from './slot/slot-parts.ts'
import type { AgentSurroundings } from './surroundings.ts'
import type { TimeMark } from './time/time-mark.ts'

const JUST_NOW_MS = 20

export interface DeviceEnergyOptions {
  readonly config: AgentConfig
  readonly around: AgentSurroundings
  readonly board: BoardDescription
  readonly slots: AllSlots
  readonly mark: () => TimeMark
  readonly onEvent: (event: DeviceEvent) => void
  readonly log: Log
}

/** What this device uses, by slot, and how it fares: sensors, meter, idle power and the machine's own state together. */
export class DeviceEnergy {
  readonly #options: DeviceEnergyOptions
  readonly #plug: Plug | undefined
  readonly #sensors: SensorWatch
  readonly #meter: Meter
  readonly #idle: IdleMemory
  readonly #machine: MachineWatch
  readonly #powerWatch = new PowerWatch()
  /** CPU of the device before this boot. */
  readonly #deviceCpuAtStart: number
  #sampledMs = Number.NEGATIVE_INFINITY

  private constructor(options: DeviceEnergyOptions, sensors: SensorWatch, plug: Plug | undefined) {
    this.#options = options
    this.#sensors = sensors
    this.#plug = plug
    const { config, around, board, mark, onEvent, log } = options
    const { clock, files, runCommand } = around
    const { root } = config.sensors
    this.#deviceCpuAtStart = around.readDeviceCpuSeconds()
    this.#machine = new MachineWatch({ root, files, run: commandsOf(files, root, runCommand) })
    this.#meter = new Meter({
      counter: () => sensors.counter,
      model: config.power ?? defaultPowerModel(board),
      cores: board.cores,
      slots: config.slots.map(({ slot }) => slot),
      clock,
      onSensor: ({ isReadable, message }) =>
        onEvent({ kind: isReadable ? 'sensor-back' : 'sensor-lost', message: message.slice(0, 1000) }),
    })
    this.#idle = new IdleMemory({
      dataDir: config.dataDir,
      board: board.model,
      idle: this.#meter.idle,
      mark,
      monotonicMs: clock.monotonicMs,
      onError: (error) => log.error({ reason: error.message }, 'idle power'),
    })
  }

  /** Look for sensors, and begin to count. */
  static async open(options: DeviceEnergyOptions): Promise<DeviceEnergy> {
    const { config, around, onEvent } = options
    const { clock, random, files, runCommand } = around
    const { root, pmic, plug: plugConfig, sampleHz, maxCpuShare } = config.sensors
    const plug = plugConfig && openPlug(plugConfig)
    const sensors = new SensorWatch({
      surroundings: { root, files, run: commandsOf(files, root, runCommand) },
      pmic,
      plug,
      sampling: { clock, random, sampleHz, maxCpuShare },
      onEvent,
    })
    await sensors.open()
    return new DeviceEnergy(options, sensors, plug)
  }

  get selfJoules(): number {
    return this.#meter.selfJoules
  }

  /** CPU seconds of the agent beside its slots. */
  get selfCpuSeconds(): number {
    const ofWorkers = [...this.#options.slots.values()].map(({ supervisor }) => supervisor.cpuSeconds.agent)
    return ofWorkers.reduce((sum, each) => sum + each, this.#options.around.readOwnCpuSeconds())
  }

  /** @throws {RangeError} If this device has no such slot. */
  slot(slot: SlotId): SlotEnergy {
    return this.#meter.slot(slot)
  }

  /** Read sensors and machine until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#machine.run(signal), this.#sensors.run(signal)])
  }

  /** Book the time since the last sample, unless that was just now: each second's tick and its telemetry ask. */
  sample(): void {
    const { slots, around } = this.#options
    const nowMs = around.clock.monotonicMs()
    if (nowMs - this.#sampledMs < JUST_NOW_MS) return
    this.#sampledMs = nowMs
    this.#meter.sample({
      slots: new Map([...slots].map(([id, { supervisor }]) => [id, supervisor.cpuSeconds.slot])),
      self: this.selfCpuSeconds,
      device: around.readDeviceCpuSeconds() - this.#deviceCpuAtStart,
    })
  }

  /** Once a second, after a sample: let each slot keep its lease of power, and each trial count its joules. */
  step(nowMs: number): void {
    const { slots } = this.#options
    const meter = this.#meter
    this.#idle.keep(this.#machine.state?.powerMode)
    const energies = new Map([...slots.keys()].map((id) => [id, meter.slot(id)]))
    for (const [id, reading] of this.#powerWatch.read(nowMs, meter.mark().joules, energies) ?? [])
      slots.get(id)?.slot.recordPower(reading)
    for (const [id, { updates }] of slots) updates.tick(meter.slot(id).joules)
  }

  birth(): Pick<Birth, 'energy' | 'sensorsRefused'> {
    return {
      energy: this.#meter.sources(),
      sensorsRefused: this.#sensors.refused.slice(0, 32).map(({ name, why, reason }) => ({
        name: name.slice(0, 80),
        why,
        reason: reason.slice(0, 300),
      })),
    }
  }

  telemetry(): Pick<Telemetry, 'energy' | 'machine' | 'carbon' | 'idle'> {
    const { config, around } = this.#options
    const { amendMachine = (state) => state } = around
    const { state } = this.#machine
    const carbon = carbonIntensity(config.carbon)
    const baseline = this.#meter.idle.current
    return {
      energy: this.#meter.telemetry(),
      ...(state === undefined ? {} : { machine: amendMachine(state) }),
      carbon: { ...carbon, grams: gramsOfCarbon(this.#meter.mark().joules, carbon) },
      ...(baseline === undefined
        ? {}
        : {
            idle: {
              source: baseline.source,
              watts: baseline.watts,
              halfWidthW: baseline.halfWidthW,
              ageS: Math.max(0, (around.clock.monotonicMs() - baseline.measuredAtMs) / 1000),
            },
          }),
    }
  }

  async close(): Promise<void> {
    this.#idle.save()
    await this.#plug?.close()
  }
}
