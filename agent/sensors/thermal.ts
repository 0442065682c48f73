import { join } from 'node:path'
import type { SensorSurroundings } from './candidate.ts'
import { findText, listFolder, readNumber } from './system-files.ts'

const ROOT = 'sys/class/thermal'
/** Reads 100 degrees for ever on several boards. */
const MEANINGLESS = /PMIC/i

/** Degrees Celsius by zone. A block that is powered down cannot be read (EAGAIN): it is left out, never 0. */
export function readTemperatures({ files, root }: SensorSurroundings): Record<string, number> {
  const celsius: Record<string, number> = {}
  for (const entry of listFolder(files, join(root, ROOT)).filter((name) => name.startsWith('thermal_zone')))
    try {
      const type = findText(files, join(root, ROOT, entry, 'type')) ?? entry
      if (!MEANINGLESS.test(type))
        celsius[type.slice(0, 40)] = readNumber(files, join(root, ROOT, entry, 'temp')) / 1000
    } catch {
      // Not now; the next look is seconds away.
    }
  return celsius
}
