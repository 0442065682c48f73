import { join } from 'node:path'
import { attempt, findText, listFolder, readNumber, type SystemFiles } from '../sensors/system-files.ts'
import { readZones, type ThermalZone } from '../sensors/thermal.ts'

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

function zoneHeadroom(files: SystemFiles, { folder, celsius }: ThermalZone): number {
  const names = attempt(() => listFolder(files, folder)) ?? []
  const trips = names.flatMap((name) => {
    const index = /^trip_point_(\d+)_type$/.exec(name)?.[1]
    if (index === undefined || attempt(() => findText(files, join(folder, name))) !== 'passive') return []
    return attempt(() => readNumber(files, join(folder, `trip_point_${index}_temp`))) ?? []
  })
  // A trip of 0 or less is one that is switched off.
  return thermalHeadroom(celsius, Math.min(...trips.filter((trip) => trip > 0), DEFAULT_TRIP_C * 1000) / 1000)
}

function supplyHeadroom(files: SystemFiles, supply: string): number | undefined {
  const textAt = (file: string): string | undefined => attempt(() => findText(files, join(supply, file)))
  if (textAt('type') !== 'Battery') return undefined
  const percent = attempt(() => readNumber(files, join(supply, 'capacity')))
  if (percent === undefined) return undefined
  return textAt('status') === 'Discharging' ? batteryHeadroom(percent / 100) : 1
}

export interface Headroom {
  readonly thermalHeadroom: number | undefined
  readonly batteryHeadroom: number | undefined
}

const leastOf = (shares: readonly number[]): number | undefined =>
  shares.length === 0 ? undefined : Math.min(...shares)

/**
 * What heat and battery leave, of the hottest zone and the emptiest battery; undefined where there is none.
 *
 * @param root Prefix of system paths.
 */
export function readHeadroom(root: string, files: SystemFiles): Headroom {
  const zones = attempt(() => readZones({ root, files })) ?? []
  const supplies = join(root, 'sys/class/power_supply')
  const names = attempt(() => listFolder(files, supplies)) ?? []
  return {
    thermalHeadroom: leastOf(zones.map((zone) => zoneHeadroom(files, zone))),
    batteryHeadroom: leastOf(names.flatMap((name) => supplyHeadroom(files, join(supplies, name)) ?? [])),
  }
}
