import { join } from 'node:path'
import type { Finding, Refusal, SensorSurroundings } from './candidate.ts'
import { refuse } from './refuse.ts'
import { findText, listFolder, readNumber, readText } from './system-files.ts'

const ROOT = 'sys/class/powercap'
/** Against a meter at the wall, packages are within a few percent; microcode blurs values by about as much. */
const UNCERTAINTY = 0.05
/** The counter moves each millisecond; once a second misses no wrap, which comes after minutes at the earliest. */
const PERIOD_MS = 1000

interface Zone {
  readonly name: string
  readonly path: string
}

/** Top zones by name: the index in a folder's name means nothing, and one package may show up twice. */
function listZones({ files, root }: SensorSurroundings): Zone[] {
  const folder = join(root, ROOT)
  const byName = new Map<string, Zone>()
  // intel-rapl-mmio repeats a package of intel-rapl: the latter comes last and stays.
  const zones = listFolder(files, folder).filter((name) => /^intel-rapl(-mmio)?:\d+$/.test(name))
  for (const zone of zones.sort((a, b) => b.indexOf('mmio') - a.indexOf('mmio'))) {
    const name = readText(files, join(folder, zone, 'name'))
    byName.set(name, { name, path: join(folder, zone) })
  }
  return [...byName.values()].sort((a, b) => a.name.localeCompare(b.name))
}

/** Memory is beside the processor, not in it, where a package has a zone of that name. */
function memoryOf({ files }: SensorSurroundings, { name, path }: Zone): Zone[] {
  return listFolder(files, path)
    .filter((entry) => /^intel-rapl(-mmio)?:\d+:\d+$/.test(entry))
    .map((entry) => join(path, entry))
    .filter((child) => findText(files, join(child, 'name')) === 'dram')
    .map((child) => ({ name: `${name}/dram`, path: child }))
}

/**
 * Energy counters of x86 processors: psys where there is one, else the packages and their memory. Zones nest (psys holds
 * package, package holds core and uncore), so nothing else may be added.
 */
export function findRapl(surroundings: SensorSurroundings): Finding {
  const { files } = surroundings
  const refused: Refusal[] = []
  try {
    const zones = listZones(surroundings)
    const psys = zones.filter(({ name }) => name === 'psys')
    const packages = zones.filter(({ name }) => /^package-\d+$/.test(name))
    const counted = psys.length > 0 ? psys : packages.flatMap((zone) => [zone, ...memoryOf(surroundings, zone)])
    if (counted.length === 0) return { candidates: [], refused }
    const read = (): number[] => counted.map(({ path }) => readNumber(files, join(path, 'energy_uj')) / 1e6)
    const rangesJ = counted.map(({ path }) => readNumber(files, join(path, 'max_energy_range_uj')) / 1e6)
    read()
    const rails = counted.map(({ name }) => name)
    const isWhole = psys.length > 0
    if (isWhole)
      for (const { name } of packages) refused.push({ name: `rapl:${name}`, why: 'inside', reason: 'part of psys' })
    return {
      candidates: [
        {
          preference: 'package',
          name: `rapl:${rails[0]}`,
          rails,
          watts: undefined,
          notes: isWhole
            ? ['the platform as its firmware sees it']
            : ['the processor alone: board, disks and fans are not in it'],
          measures: {
            kind: 'energy',
            probe: {
              source: {
                source: `rapl:${rails[0]}`,
                rail: rails.join('+').slice(0, 80),
                scope: isWhole ? 'board' : 'module',
                method: 'counter',
              },
              uncertainty: UNCERTAINTY,
              periodMs: PERIOD_MS,
              isLocal: true,
              rangesJ,
              read,
            },
          },
        },
      ],
      refused,
    }
  } catch (error) {
    return { candidates: [], refused: [...refused, refuse('rapl', error)] }
  }
}
