import { join } from 'node:path'
import type { Finding, Refusal, SystemPlace } from './candidate.ts'
import { type Rail, totalOfRails } from './rail-total.ts'
import { refuse } from './refuse.ts'
import { findText, listFolder, readNumberOften } from './system-files.ts'

const ROOT = 'sys/bus/i2c/drivers/ina3221x'
/** Order differs between boards of one kind: only the name of a rail counts. */
const CHANNELS = [0, 1, 2]

/** Jetson with JetPack 4 and before: `ina3221x`, milliwatts by channel under an IIO device. */
export function findIna3221x(place: SystemPlace): Finding {
  const { files, root } = place
  const rails: Rail[] = []
  const refused: Refusal[] = []
  for (const chip of listFolder(files, join(root, ROOT)).filter((name) => /^\d+-[0-9a-f]{4}$/.test(name)))
    for (const device of listFolder(files, join(root, ROOT, chip)).filter((name) => /^iio:device\d+$/.test(name)))
      for (const channel of CHANNELS) {
        const folder = join(root, ROOT, chip, device)
        try {
          const rail = findText(files, join(folder, `rail_name_${channel}`))
          if (rail === undefined || rail === '' || rail === 'NC') continue
          const path = join(folder, `in_power${channel}_input`)
          rails.push({ rail, read: () => readNumberOften(files, path) / 1000 })
        } catch (error) {
          refused.push(refuse(`ina3221x:${chip} channel ${channel}`, error))
        }
      }
  const total = totalOfRails(place, 'ina3221x', rails)
  return {
    candidates: total.candidate === undefined ? [] : [total.candidate],
    refused: [...refused, ...total.refused],
  }
}
