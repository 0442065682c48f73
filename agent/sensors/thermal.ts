import { join } from 'node:path'
import type { SensorSurroundings } from './candidate.ts'
import { attempt, findText, listFolder, readNumber } from './system-files.ts'

const ROOT = 'sys/class/thermal'
/** Reads 100 degrees for ever on several boards. */
const MEANINGLESS = /PMIC/i

export interface ThermalZone {
  readonly type: string
  readonly folder: string
  readonly celsius: number
}

/** Zones that can be read now and mean something. One that is powered down (EAGAIN) is left out, never 0. */
export function readZones({ files, root }: Pick<SensorSurroundings, 'files' | 'root'>): ThermalZone[] {
  return listFolder(files, join(root, ROOT)).flatMap((entry) => {
    if (!entry.startsWith('thermal_zone')) return []
    const folder = join(root, ROOT, entry)
    const zone = attempt(() => ({
      type: findText(files, join(folder, 'type')) ?? entry,
      folder,
      celsius: readNumber(files, join(folder, 'temp')) / 1000,
    }))
    return zone === undefined || MEANINGLESS.test(zone.type) ? [] : [zone]
  })
}

/** Degrees Celsius by zone. */
export const readTemperatures = (surroundings: SensorSurroundings): Record<string, number> =>
  Object.fromEntries(readZones(surroundings).map(({ type, celsius }) => [type.slice(0, 40), celsius]))
