import { join } from 'node:path'
import { findText, listFolder, type SystemFiles } from '../sensors/system-files.ts'

/** From this far below the temperature at which the chip slows itself, headroom falls to none. */
const THERMAL_BAND_C = 10
/** Where the kernel names no such temperature: where the firmware of a Raspberry Pi begins to slow down. */
const DEFAULT_TRIP_C = 80
/** Charge at and above which a battery is no concern, and at which nothing is left to spend. */
const BATTERY_ENOUGH = 0.5
const BATTERY_EMPTY = 0.1

const clamp = (value: number): number => Math.min(1, Math.max(0, value))

/** @returns 1 cool, 0 where it throttles. */
export function thermalHeadroom(temperatureC: number, tripC: number): number {
  return clamp((tripC - temperatureC) / THERMAL_BAND_C)
}

/** @param charge Of a battery that is not charging, 0..1. @returns 1 enough, 0 nearly empty. */
export function batteryHeadroom(charge: number): number {
  return clamp((charge - BATTERY_EMPTY) / (BATTERY_ENOUGH - BATTERY_EMPTY))
}

/** A file's number; undefined where there is none or the driver refuses: the others still say something. */
function numberAt(files: SystemFiles, ...path: string[]): number | undefined {
  try {
    const text = findText(files, join(...path))
    const value = Number(text)
    return text === undefined || text === '' || !Number.isFinite(value) ? undefined : value
  } catch {
    return undefined
  }
}

function textAt(files: SystemFiles, ...path: string[]): string | undefined {
  try {
    return findText(files, join(...path))
  } catch {
    return undefined
  }
}

function namesIn(files: SystemFiles, folder: string): string[] {
  try {
    return listFolder(files, folder)
  } catch {
    return []
  }
}

function zoneHeadroom(files: SystemFiles, zone: string): number | undefined {
  const milliC = numberAt(files, zone, 'temp')
  if (milliC === undefined) return undefined
  const trips = namesIn(files, zone).flatMap((name) => {
    const index = /^trip_point_(\d+)_type$/.exec(name)?.[1]
    if (index === undefined || textAt(files, zone, name) !== 'passive') return []
    return numberAt(files, zone, `trip_point_${index}_temp`) ?? []
  })
  // A trip of 0 or less is one that is switched off.
  const tripC = Math.min(...trips.filter((trip) => trip > 0), DEFAULT_TRIP_C * 1000) / 1000
  return thermalHeadroom(milliC / 1000, tripC)
}

function supplyHeadroom(files: SystemFiles, supply: string): number | undefined {
  if (textAt(files, supply, 'type') !== 'Battery') return undefined
  const percent = numberAt(files, supply, 'capacity')
  if (percent === undefined) return undefined
  return textAt(files, supply, 'status') === 'Discharging' ? batteryHeadroom(percent / 100) : 1
}

export interface Headroom {
  readonly thermalHeadroom: number | undefined
  readonly batteryHeadroom: number | undefined
}

/**
 * What heat and battery leave, of the hottest zone and the emptiest battery; undefined where there is none.
 *
 * @param root Prefix of system paths.
 */
export function readHeadroom(root: string, files: SystemFiles): Headroom {
  const least = (folder: string, pattern: RegExp, read: (files: SystemFiles, path: string) => number | undefined) => {
    const found = namesIn(files, join(root, folder))
      .filter((name) => pattern.test(name))
      .map((name) => read(files, join(root, folder, name)))
      .filter((value) => value !== undefined)
    return found.length === 0 ? undefined : Math.min(...found)
  }
  return {
    thermalHeadroom: least('sys/class/thermal', /^thermal_zone\d+$/, zoneHeadroom),
    batteryHeadroom: least('sys/class/power_supply', /./, supplyHeadroom),
  }
}
