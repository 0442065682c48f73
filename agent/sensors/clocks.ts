import { join } from 'node:path'
import type { SensorSurroundings } from './candidate.ts'
import { attempt, findText, listFolder, readNumber } from './system-files.ts'

const CPU_ROOT = 'sys/devices/system/cpu/cpufreq'
const DEVFREQ_ROOT = 'sys/class/devfreq'
const GPU = /gpu|gv11b|gp10b|ga10b|gb10b/

/** Megahertz of each group of cores, and of the GPU where there is one. */
export function readClocksMhz({ files, root }: SensorSurroundings): Record<string, number> {
  const clocks: Record<string, number> = {}
  const note = (name: string, read: () => number): void => {
    const mhz = attempt(read)
    if (mhz !== undefined) clocks[name] = mhz
  }
  for (const policy of listFolder(files, join(root, CPU_ROOT)).filter((name) => name.startsWith('policy')))
    note(policy, () => readNumber(files, join(root, CPU_ROOT, policy, 'scaling_cur_freq')) / 1e3)
  for (const entry of listFolder(files, join(root, DEVFREQ_ROOT))) {
    const folder = join(root, DEVFREQ_ROOT, entry)
    // The folder's name differs between releases: the device tree says what it is.
    const name = attempt(() => findText(files, join(folder, 'device/of_node/name')) ?? entry)
    if (name !== undefined && GPU.test(name)) note('gpu', () => readNumber(files, join(folder, 'cur_freq')) / 1e6)
  }
  return clocks
}
