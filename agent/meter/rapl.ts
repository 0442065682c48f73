import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import type { EnergySource } from '@espalier/shared/messages/device'
import { type SystemFiles, systemFiles } from '../sensors/system-files.ts'
import type { EnergyCounter } from './energy-counter.ts'

/** Absent and unreadable are different: the second is worth an operator's attention. */
export type RaplFinding =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly reason: string }
  | { readonly kind: 'found'; readonly counters: readonly EnergyCounter[] }

/**
 * A counter may fall because it wrapped, or because of a reset or suspend. Taken as a wrap, a reset would imply
 * an absurd power; no package draws more than this.
 */
const MAX_PLAUSIBLE_W = 1000
/** Against a meter at the wall, packages are within a few percent; microcode blurs values by about as much. */
const UNCERTAINTY = 0.05
const ROOT = 'sys/class/powercap'

function readMicrojoules(files: SystemFiles, path: string): number {
  let text: string
  try {
    text = files.read(path).trim()
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new StoreError(`Cannot read sensor "${path}": ${code}`, { cause, retryable: code !== 'EACCES' })
  }
  if (!/^\d+$/.test(text))
    throw new StoreError(`Cannot read sensor "${path}": found "${text}", expected microjoules`, { retryable: true })
  return Number(text)
}

class RaplCounter implements EnergyCounter {
  readonly source: EnergySource
  readonly uncertainty = UNCERTAINTY
  readonly #files: SystemFiles
  readonly #path: string
  readonly #rangeUj: number
  #last: { microjoules: number; atMs: number } | undefined

  constructor(files: SystemFiles, zone: string, name: string) {
    this.#files = files
    this.#path = join(zone, 'energy_uj')
    this.#rangeUj = readMicrojoules(files, join(zone, 'max_energy_range_uj'))
    // psys is the whole platform; a package is the processor alone.
    this.source = { source: `rapl:${name}`, rail: name, scope: name === 'psys' ? 'board' : 'module', method: 'counter' }
    readMicrojoules(files, this.#path)
  }

  take(nowMs: number): number | undefined {
    const last = this.#last
    const microjoules = readMicrojoules(this.#files, this.#path)
    this.#last = { microjoules, atMs: nowMs }
    if (last === undefined) return undefined
    const wrapped = microjoules < last.microjoules ? this.#rangeUj : 0
    const joules = (microjoules - last.microjoules + wrapped) / 1e6
    return joules <= MAX_PLAUSIBLE_W * Math.max(1e-3, (nowMs - last.atMs) / 1000) ? joules : undefined
  }
}

/**
 * Find the rails of the powercap tree whose sum is this device: psys where there is one, else the packages. Rails nest
 * (psys holds package, package holds core), so nothing else may be added; the index in a folder's name means nothing.
 *
 * @param root Prefix of all paths, `/` on a real device.
 */
export function findRapl(root: string, files: SystemFiles = systemFiles): RaplFinding {
  const folder = join(root, ROOT)
  let zones: string[]
  try {
    zones = files.list(folder).filter((name) => /^intel-rapl(-mmio)?:\d+$/.test(name))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return code === 'ENOENT' || code === 'ENOTDIR'
      ? { kind: 'absent' }
      : { kind: 'unreadable', reason: `${folder}: ${code}` }
  }
  // The same package may show up twice, as intel-rapl and as intel-rapl-mmio: the former comes last and stays.
  const byName = new Map<string, string>()
  for (const zone of zones.sort((a, b) => b.indexOf('mmio') - a.indexOf('mmio'))) {
    const path = join(folder, zone)
    try {
      byName.set(files.read(join(path, 'name')).trim(), path)
    } catch (error) {
      return { kind: 'unreadable', reason: `${path}: ${(error as NodeJS.ErrnoException).code}` }
    }
  }
  const names = byName.has('psys') ? ['psys'] : [...byName.keys()].filter((name) => /^package-\d+$/.test(name)).sort()
  if (names.length === 0) return { kind: 'absent' }
  try {
    return { kind: 'found', counters: names.map((name) => new RaplCounter(files, byName.get(name)!, name)) }
  } catch (error) {
    if (error instanceof StoreError) return { kind: 'unreadable', reason: error.message }
    throw error
  }
}
