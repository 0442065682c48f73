import { setTimeout as delay } from 'node:timers/promises'
import type { EnergyCounter } from '@espalier/agent/meter/energy-counter'
import { defaultPowerModel } from '@espalier/agent/meter/power-model'
import { findRapl } from '@espalier/agent/meter/rapl'
import { readBoard } from '@espalier/agent/meter/read-machine'
import type { EnergyReader } from '@espalier/forge/measure/profile'

const IDLE_S = 3

function takeAll(counters: readonly EnergyCounter[]): number {
  return counters.reduce((sum, counter) => sum + (counter.take(performance.now()) ?? 0), 0)
}

/**
 * Joules of this machine: its energy counters less what it draws idle, measured now over three seconds, where they can
 * be read; else the same model that the agent uses.
 */
export async function openEnergyReader(root = '/'): Promise<EnergyReader> {
  const board = readBoard(root)
  const rapl = findRapl(root)
  if (rapl.kind !== 'found') {
    const { idleW, fullW, uncertainty } = defaultPowerModel(board)
    const joulesPerCpuSecond = (fullW - idleW) / board.cores
    return { source: 'model:utilisation', uncertainty, begin: () => () => joulesPerCpuSecond }
  }
  const { counters } = rapl
  takeAll(counters)
  await delay(IDLE_S * 1000)
  const idleW = takeAll(counters) / IDLE_S
  return {
    source: counters.map(({ source }) => source.source).join('+'),
    uncertainty: Math.max(...counters.map(({ uncertainty }) => uncertainty)),
    begin() {
      takeAll(counters)
      const started = performance.now()
      return (cpuSeconds) => {
        const seconds = (performance.now() - started) / 1000
        return Math.max(0, takeAll(counters) - idleW * seconds) / Math.max(1e-6, cpuSeconds)
      }
    },
  }
}
