import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** The calls that can fail or be cut short by a power loss; tests hand in failing ones. */
export interface FileCalls {
  makeFolder(path: string): void
  read(path: string): Uint8Array
  open(path: string, flags: string): number
  write(fd: number, data: Uint8Array): number
  sync(fd: number): void
  close(fd: number): void
  rename(from: string, to: string): void
}

export const fileCalls: FileCalls = {
  makeFolder: (path) => void mkdirSync(path, { recursive: true }),
  read: (path) => readFileSync(path),
  open: openSync,
  write: writeSync,
  sync: fsyncSync,
  close: closeSync,
  rename: renameSync,
}

function withOpen(calls: FileCalls, path: string, flags: string, use: (fd: number) => void): void {
  const fd = calls.open(path, flags)
  try {
    use(fd)
  } finally {
    calls.close(fd)
  }
}

/**
 * Replace a file so that whoever reads it, after a kill or power loss at any instant, finds the old or the new
 * whole: write aside, sync, rename, sync the folder (without which the rename itself may be lost).
 */
export function writeAtomically(path: string, data: Uint8Array, calls: FileCalls = fileCalls): void {
  const aside = `${path}.new`
  calls.makeFolder(dirname(path))
  withOpen(calls, aside, 'w', (fd) => {
    for (let written = 0; written < data.byteLength; ) written += calls.write(fd, data.subarray(written))
    calls.sync(fd)
  })
  calls.rename(aside, path)
  withOpen(calls, dirname(path), 'r', (fd) => calls.sync(fd))
}
