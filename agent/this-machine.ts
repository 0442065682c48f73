import { randomBytes } from 'node:crypto'
import { systemClock } from '@espalier/shared/clock'
import { DeviceRuntimes } from './backends/device-runtimes.ts'
import {
  readBoard,
  readDeviceCpuSeconds,
  readFlashBytes,
  readOwnCpuSeconds,
  readRssBytes,
} from './meter/read-machine.ts'
import { openReadingThread } from './meter/reading-thread.ts'
import { runCommand } from './sensors/run-command.ts'
import { systemFiles } from './sensors/this-system-files.ts'
import { openSink } from './sink/open-sink.ts'
import { openSource } from './source/open-source.ts'
import { WORKER_PATH } from './supervisor/worker-supervisor.ts'
import type { AgentSurroundings } from './surroundings.ts'
import { readUptimeMs } from './time/time-mark.ts'

/** A computer with Node. */
export const thisMachine: AgentSurroundings = {
  clock: systemClock,
  random: Math.random,
  makeBootId: () => randomBytes(8).toString('hex'),
  files: { ...systemFiles, readApart: openReadingThread },
  workerPath: WORKER_PATH,
  makeRuntimeFinder: (options) => new DeviceRuntimes(options),
  readBoard,
  readOwnCpuSeconds,
  readDeviceCpuSeconds,
  readRssBytes,
  readFlashBytes,
  runCommand,
  readUptimeMs,
  meterEveryMs: 1000,
  openSource,
  openSink,
}
