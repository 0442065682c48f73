import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import type { SystemFiles } from './system-files.ts'

/**
 * Opened anew after this: a file that was replaced, or whose driver has gone, is noticed within a second, and a hundred
 * readings share the cost of opening.
 */
const KEPT_OPEN_MS = 1000
/** Values of sysfs are one line. */
const line = Buffer.alloc(256)
const kept = new Map<string, { readonly descriptor: number; readonly untilMs: number }>()

function descriptorOf(path: string): number {
  const held = kept.get(path)
  const nowMs = performance.now()
  if (held !== undefined && nowMs < held.untilMs) return held.descriptor
  if (held !== undefined) forgetFile(path, held.descriptor)
  const descriptor = openSync(path, 'r')
  kept.set(path, { descriptor, untilMs: nowMs + KEPT_OPEN_MS })
  return descriptor
}

function forgetFile(path: string, descriptor: number): void {
  kept.delete(path)
  closeSync(descriptor)
}

/** sysfs asks the driver anew at each reading from the start of the file. */
function readKept(path: string): string {
  const descriptor = descriptorOf(path)
  try {
    return line.toString('latin1', 0, readSync(descriptor, line, 0, line.length, 0))
  } catch (error) {
    forgetFile(path, descriptor)
    throw error
  }
}

/** Those of this computer. */
export const systemFiles: SystemFiles = {
  list: (path) => readdirSync(path),
  read: (path) => readFileSync(path, 'utf8'),
  readOften: readKept,
}
