import { readFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'
import { join } from 'node:path'
import type { BoardDescription } from './power-model.ts'

/** What this machine is. @param root Prefix of system paths, `/` on a real device. */
export function readBoard(root: string): BoardDescription {
  const processors = cpus()
  const cores = Math.max(1, processors.length)
  let model: string
  try {
    // Device-tree text ends with NUL and no line break.
    model = readFileSync(join(root, 'proc/device-tree/model'), 'utf8').replace(/\0+$/, '')
  } catch {
    model = processors[0]?.model.trim() || 'unknown'
  }
  const deviceClass = `${platform()}-${arch()}-${cores}core`
  return { model: model.slice(0, 200), arch: arch(), cores, memoryBytes: totalmem(), deviceClass }
}

/** Clock ticks a second of /proc; the same on every Linux that we run on. @see man 5 proc_stat */
export const TICKS_HZ = 100

/** CPU seconds of all processes since the machine started. */
export function readDeviceCpuSeconds(): number {
  try {
    // Asked once a second: os.cpus() reads some files of each core beside this one.
    const [user, nice, system, , , irq] = readFileSync('/proc/stat', 'utf8').slice(5, 100).split(' ').map(Number)
    return (user! + nice! + system! + irq!) / TICKS_HZ
  } catch {
    return cpus().reduce((sum, { times }) => sum + (times.user + times.nice + times.sys + times.irq) / 1000, 0)
  }
}

/** CPU seconds of this process since it started. */
export function readOwnCpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Memory of this process that is in RAM. */
export function readRssBytes(): number {
  return process.memoryUsage.rss()
}

/** Bytes that this process had written to storage, as Linux counts them; undefined elsewhere. @see man 5 proc_pid_io */
export function readFlashBytes(): number | undefined {
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? undefined) || 0
  } catch {
    return undefined
  }
}
