import { setTimeout as delay } from 'node:timers/promises'
import { openCounter } from '@espalier/agent/meter/open-counter'
import { defaultPowerModel } from '@espalier/agent/meter/power-model'
import { readBoard } from '@espalier/agent/meter/read-machine'
import { findSensors } from '@espalier/agent/sensors/find-sensors'
import { runCommand } from '@espalier/agent/sensors/run-command'
import { systemFiles } from '@espalier/agent/sensors/this-system-files'
import type { EnergyReader } from '@espalier/forge/measure/profile'
import { systemClock } from '@espalier/shared/clock'

const IDLE_S = 3
/** A profile is short and worth a closer look than the agent's daily work. */
const SAMPLING = { sampleHz: 100, maxCpuShare: 0.02 }

/**
 * Joules of this machine: its best sensor less what it draws idle, measured now over three seconds; else the same
 * model that the agent uses.
 */
export async function openEnergyReader(): Promise<EnergyReader> {
  const { chosen } = await findSensors({ root: '/', files: systemFiles, run: runCommand })
  if (chosen === undefined) {
    const board = readBoard('/')
    const { idleW, fullW, uncertainty } = defaultPowerModel(board)
    const joulesPerCpuSecond = (fullW - idleW) / board.cores
    return { source: 'model:utilisation', uncertainty, begin: () => () => joulesPerCpuSecond }
  }
  const counter = openCounter(chosen, { clock: systemClock, random: Math.random, ...SAMPLING })
  // Timers of a sampler must not keep the command alive when its work is done.
  void counter.run(new AbortController().signal)
  counter.begin(performance.now())
  await delay(IDLE_S * 1000)
  const idle = counter.take(performance.now())
  const idleW = idle.joules / Math.max(1e-3, idle.knownMs / 1000)
  return {
    source: counter.source.source,
    uncertainty: counter.uncertainty,
    begin() {
      counter.take(performance.now())
      return (cpuSeconds) => {
        const { joules, knownMs } = counter.take(performance.now())
        return Math.max(0, joules - (idleW * knownMs) / 1000) / Math.max(1e-6, cpuSeconds)
      }
    },
  }
}
