import { setTimeout as delay } from 'node:timers/promises'
import { samplingHalfWidth } from '@espalier/agent/meter/energy-window'
import { openCounter } from '@espalier/agent/meter/open-counter'
import type { Candidate } from '@espalier/agent/sensors/candidate'
import { findSensors } from '@espalier/agent/sensors/find-sensors'
import { commandsOf } from '@espalier/agent/sensors/run-command'
import { systemFiles } from '@espalier/agent/sensors/this-system-files'
import { systemClock } from '@espalier/shared/clock'
import { formatPower } from '@espalier/shared/units'
import type { Command } from 'commander'

const LOOK_MS = 1000
const SAMPLING = { sampleHz: 100, maxCpuShare: 0.01 }

/** What a sensor says over a second; undefined if it has not answered twice in that time. */
async function look(candidate: Candidate) {
  const counter = openCounter(candidate, { clock: systemClock, random: Math.random, ...SAMPLING })
  const stopping = new AbortController()
  counter.begin(systemClock.monotonicMs())
  const running = counter.run(stopping.signal)
  await delay(LOOK_MS)
  const { joules, knownMs, readings, changes, varianceJ2, failures } = counter.take(systemClock.monotonicMs())
  stopping.abort()
  await running
  if (knownMs === 0) return { readings, failures }
  const seconds = knownMs / 1000
  // Rounded to microwatts: below that it is arithmetic, not the sensor.
  const samplingW = Number((samplingHalfWidth(readings, changes, varianceJ2) / seconds).toFixed(6))
  return { watts: joules / seconds, samplingW, readings, failures }
}

function describe({ preference, rails, watts, notes, measures }: Candidate, measured: unknown) {
  const { source, uncertainty } = measures.probe
  return { ...source, preference, rails, watts, uncertainty, notes, measured }
}

async function showSensors({ root, json }: { root: string; json?: true }): Promise<void> {
  const { chosen, refused } = await findSensors({ root, files: systemFiles, run: commandsOf(systemFiles, root) })
  const measured = chosen && (await look(chosen))
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ chosen: chosen === undefined ? null : describe(chosen, measured), refused }, undefined, 2)}\n`,
    )
    return
  }
  const lines =
    chosen === undefined
      ? ['no sensor tells the energy of this device: it is modelled from CPU time (see docs/sensors.md)']
      : [
          `counts: ${chosen.name} (${chosen.preference}, ${chosen.measures.probe.source.scope})`,
          `  rails: ${chosen.rails.join(', ')}`,
          ...chosen.notes.map((note) => `  ${note}`),
          measured?.watts === undefined
            ? `  now: ${chosen.watts === undefined ? 'no second reading yet' : formatPower(chosen.watts)}`
            : `  now: ${formatPower(measured.watts)} +- ${formatPower(measured.samplingW)} by sampling, +- ${(100 * chosen.measures.probe.uncertainty).toFixed(0)} % by scale; ${measured.readings} readings in a second`,
        ]
  for (const { name, why, reason } of refused) lines.push(`${why}: ${name} - ${reason}`)
  process.stdout.write(`${lines.join('\n')}\n`)
}

export function registerAgentSensors(agent: Command): void {
  agent
    .command('sensors')
    .description('what can tell the energy of this device, what was refused and why')
    .option('--root <dir>', 'prefix of system paths: a copied tree, with commands/ for what programs print', '/')
    .option('--json', 'print one JSON document')
    .action(showSensors)
}
