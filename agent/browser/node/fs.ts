import { files } from '../page-files.ts'

// Of `node:fs`, what the agent keeps its state with, on the page's own files.

interface OpenFile {
  readonly path: string
  at: number
}
const open = new Map<number, OpenFile>()
let nextFd = 3

const notFound = (path: string): Error =>
  Object.assign(new Error(`ENOENT: no such file, open '${path}'`), { code: 'ENOENT' })

const fileAt = (fd: number): OpenFile => {
  const file = open.get(fd)
  if (file === undefined) throw Object.assign(new Error('EBADF: bad file descriptor'), { code: 'EBADF' })
  return file
}

export const mkdirSync = (_path: string, _options?: object): void => undefined

export function readFileSync(path: string): Uint8Array
export function readFileSync(path: string, encoding: 'utf8'): string
export function readFileSync(path: string, encoding?: 'utf8'): string | Uint8Array {
  const data = files().read(path)
  if (data === undefined) throw notFound(path)
  return encoding === undefined ? data.slice() : new TextDecoder().decode(data)
}

export const existsSync = (path: string): boolean => files().read(path) !== undefined

export const readdirSync = (path: string): string[] => files().list(path)

/** @param flags `w` empties, `a` appends, `x` refuses what is there; a folder is opened to be synced. */
export function openSync(path: string, flags: string): number {
  const isThere = existsSync(path)
  if (flags.includes('x') && isThere) throw Object.assign(new Error(`EEXIST: '${path}'`), { code: 'EEXIST' })
  if (flags.startsWith('w') || (flags.startsWith('a') && !isThere)) files().write(path, new Uint8Array())
  const fd = nextFd++
  open.set(fd, { path, at: files().read(path)?.length ?? 0 })
  return fd
}

export function writeSync(fd: number, data: Uint8Array, offset = 0): number {
  const file = fileAt(fd)
  const before = files().read(file.path) ?? new Uint8Array()
  const added = data.subarray(offset)
  const whole = new Uint8Array(Math.max(before.length, file.at + added.length))
  whole.set(before)
  whole.set(added, file.at)
  files().write(file.path, whole)
  file.at += added.length
  return added.length
}

/** Everything is on its way to the database as soon as it is written. */
export const fsyncSync = (fd: number): void => void fileAt(fd)

export const closeSync = (fd: number): void => void open.delete(fd)

export function renameSync(from: string, to: string): void {
  const data = files().read(from)
  if (data === undefined) throw notFound(from)
  files().move(from, to)
}

export const rmSync = (path: string, _options?: object): void => files().remove(path)
