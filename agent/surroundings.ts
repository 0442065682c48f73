import type { Clock } from '@espalier/shared/clock'
import type { Reported, State, Telemetry } from '@espalier/shared/messages/device'
import type { RuntimeFinder, RuntimeFinderOptions } from './backends/runtime-finder.ts'
import type { SinkConfig, SourceConfig } from './config.ts'
import type { BoardDescription } from './meter/power-model.ts'
import type { MachineState } from './sensors/machine-watch.ts'
import type { CommandRunner } from './sensors/run-command.ts'
import type { SystemFiles } from './sensors/system-files.ts'
import type { Sink, SinkPlace } from './sink/sink.ts'
import type { PictureStream } from './source/source.ts'

/** What this agent says of itself, as it would in messages. */
export interface AgentView {
  readonly isConnected: boolean
  readonly state: State
  readonly reported: Reported
  readonly telemetry: Telemetry
}

/**
 * What the agent takes from its machine. There are two: a computer with Node (this-machine.ts) and a page of a browser
 * (browser/this-page.ts); tests hand in others.
 */
export interface AgentSurroundings {
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  /** Names this run of the agent: 16 hexadecimal digits. */
  readonly makeBootId: () => string
  readonly files: SystemFiles
  readonly workerPath: string
  /** Finds what networks can run on. */
  readonly makeRuntimeFinder: (options: RuntimeFinderOptions) => RuntimeFinder
  /** @param root Prefix of system paths. */
  readonly readBoard: (root: string) => BoardDescription
  /** CPU seconds of this process. */
  readonly readOwnCpuSeconds: () => number
  readonly readDeviceCpuSeconds: () => number
  readonly readRssBytes: () => number
  /** What this process wrote to disks since it began; absent, or undefined: not known. */
  readonly readFlashBytes?: () => number | undefined
  readonly runCommand: CommandRunner
  /** Since the machine was started. */
  readonly readUptimeMs: () => number
  /** Between two readings of the meter; what a trial of another version counts as a second. */
  readonly meterEveryMs: number
  /** @throws {ConfigError} If the source is not there. */
  readonly openSource: (config: SourceConfig) => Promise<PictureStream>
  /** @throws {ConfigError} If results of this task cannot go there. */
  readonly openSink: (config: SinkConfig, place: SinkPlace) => Promise<Sink>
  /** What system files do not tell; absent: they tell all there is. */
  readonly amendMachine?: (state: MachineState) => MachineState
  /** Why no frames are taken now although nobody asked for that; absent, or undefined: they are. */
  readonly sleepReason?: () => string | undefined
  /** Told once a second how things are. */
  readonly onView?: (view: AgentView) => void
}
