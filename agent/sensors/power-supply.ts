import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import type { Candidate, Finding, Refusal, SensorSurroundings } from './candidate.ts'
import { refuse } from './refuse.ts'
import { findText, listFolder, readNumber, readText } from './system-files.ts'

const ROOT = 'sys/class/power_supply'
/** The chip in the battery looks every few seconds, at coarse steps. */
const BATTERY_PERIOD_MS = 2000
const BATTERY_UNCERTAINTY = 0.1
/** The HAT tells amperes without volts: between 5.0 and 5.1. */
const POE_VOLTS = 5.05
const POE_UNCERTAINTY = 0.03
const POE_STEP_W = 1e-3 * POE_VOLTS
const POE_PERIOD_MS = 1000
/** A laptop on its battery; some firmware tells nonsense. */
const BATTERY_LIMIT_W = 200

function powerOf(
  name: string,
  {
    read,
    uncertainty,
    uncertaintyW,
    periodMs,
  }: { read: () => number; uncertainty: number; uncertaintyW: number; periodMs: number },
): Candidate['measures'] {
  const source = { source: name, rail: name.split(':')[1]!.slice(0, 80), scope: 'board', method: 'integral' } as const
  return { kind: 'power', probe: { source, uncertainty, uncertaintyW, periodMs, read } }
}

/** The sign differs between drivers: only `status` tells the direction. */
function readBattery({ files }: SensorSurroundings, folder: string): number {
  const status = readText(files, join(folder, 'status'))
  if (status !== 'Discharging')
    throw new StoreError(`Cannot use battery "${folder}": found status "${status}", expected "Discharging"`, {
      retryable: true,
    })
  if (findText(files, join(folder, 'power_now')) !== undefined)
    return Math.abs(readNumber(files, join(folder, 'power_now'))) / 1e6
  const [microamperes, microvolts] = ['current_now', 'voltage_now'].map((file) => readNumber(files, join(folder, file)))
  return (Math.abs(microamperes!) * microvolts!) / 1e12
}

function candidateOf(surroundings: SensorSurroundings, entry: string, folder: string): Candidate | Refusal {
  const { files } = surroundings
  const type = findText(files, join(folder, 'type')) ?? 'unknown'
  if (type === 'Battery') {
    const name = `battery:${entry}`
    const read = (): number => readBattery(surroundings, folder)
    const watts = read()
    if (watts > BATTERY_LIMIT_W || watts === 0)
      return {
        name,
        why: 'implausible',
        reason: `Cannot use "${name}": found ${watts.toFixed(1)} W while discharging, expected more than 0 and at most ${BATTERY_LIMIT_W} W`,
      }
    const options = { read, uncertainty: BATTERY_UNCERTAINTY, uncertaintyW: 0, periodMs: BATTERY_PERIOD_MS }
    return {
      preference: 'battery',
      name,
      rails: [entry],
      watts,
      notes: ['while discharging'],
      measures: powerOf(name, options),
    }
  }
  if (entry === 'rpi-poe') {
    const name = 'poe:rpi-poe'
    const read = (): number => (readNumber(files, join(folder, 'current_now')) / 1e6) * POE_VOLTS
    const options = { read, uncertainty: POE_UNCERTAINTY, uncertaintyW: POE_STEP_W, periodMs: POE_PERIOD_MS }
    const notes = [`amperes of the HAT times ${POE_VOLTS} V, which it does not measure`]
    return { preference: 'board-input', name, rails: [entry], watts: read(), notes, measures: powerOf(name, options) }
  }
  return {
    name: `power-supply:${entry}`,
    why: 'unused',
    reason: `a supply of type ${type} tells its contract, not what is drawn`,
  }
}

/** Batteries while they discharge, and the PoE+ HAT of a Raspberry Pi. */
export function findPowerSupplies(surroundings: SensorSurroundings): Finding {
  const { files, root } = surroundings
  const candidates: Candidate[] = []
  const refused: Refusal[] = []
  for (const entry of listFolder(files, join(root, ROOT)))
    try {
      const found = candidateOf(surroundings, entry, join(root, ROOT, entry))
      if ('why' in found) refused.push(found)
      else candidates.push(found)
    } catch (error) {
      refused.push(refuse(`power-supply:${entry}`, error))
    }
  return { candidates, refused }
}
