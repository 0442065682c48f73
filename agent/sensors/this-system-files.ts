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
function readKept(path: string): number | undefined {
  const descriptor = descriptorOf(path)
  try {
    return wholeNumberOf(readSync(descriptor, line, 0, line.length, 0))
  } catch (error) {
    forgetFile(path, descriptor)
    throw error
  }
}

const [MINUS, ZERO, LINE_BREAK] = [0x2d, 0x30, 0x0a]
/** More digits may be more than a double holds. */
const MAX_DIGITS = 15

/** Of the first bytes of `line`: no text is made of them on the way. */
function wholeNumberOf(bytes: number): number | undefined {
  const end = line[bytes - 1] === LINE_BREAK ? bytes - 1 : bytes
  const start = line[0] === MINUS ? 1 : 0
  if (end <= start || end - start > MAX_DIGITS) return undefined
  let value = 0
  for (let i = start; i < end; i++) {
    const digit = line[i]! - ZERO
    if (digit < 0 || digit > 9) return undefined
    value = value * 10 + digit
  }
  return start === 0 ? value : -value
}

/** Those of this computer. */
export const systemFiles: SystemFiles = {
  list: (path) => readdirSync(path),
  read: (path) => readFileSync(path, 'utf8'),
  readWholeNumber: readKept,
}
