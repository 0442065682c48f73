import { StoreError } from '@espalier/shared/errors'
import type { ReadingTask, ReadingThread } from '../meter/reading-thread.ts'

/** Reads a sensor beside the program, so often. */
export type ApartReader = (pace: Pick<ReadingTask, 'periodMs' | 'maxCpuShare' | 'clock'>) => ReadingThread

/** Reading of system files (this-system-files.ts); tests hand in one that fails as drivers do (EACCES, EAGAIN, ENODATA, EIO). */
export interface SystemFiles {
  list(path: string): string[]
  read(path: string): string
  /**
   * The number of a file that is read many times a second, cheaper than its text; undefined where the file is anything but
   * one whole number. Absent: `read` does it.
   */
  readWholeNumber?(path: string): number | undefined
  /** Read a sensor (find-fast-probe.ts) in a thread of its own. Absent: these files are of this thread alone. */
  readApart?(task: ReadingTask): ReadingThread
}

/** Reading apart of one sensor, where these files can do that. */
export function apartReaderOf({ readApart }: SystemFiles, root: string, source: string): ApartReader | undefined {
  return readApart && ((pace) => readApart({ root, source, ...pace }))
}

/** The system's name for what went wrong, e.g. `EACCES`; of a StoreError, that of its cause. */
export function errorCodeOf(error: unknown): string {
  const { code } = ((error instanceof StoreError ? error.cause : error) ?? {}) as { code?: string }
  return code ?? 'unknown error'
}

/** Nothing there, as opposed to something that cannot be read. */
export function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(errorCodeOf(error))
}

/**
 * A file's text without what ends it: sysfs ends with a line break, the device tree with NUL.
 *
 * @throws {StoreError} If it cannot be read; `retryable` unless reading is not allowed. `errorCodeOf` tells why.
 */
export function readText(files: SystemFiles, path: string): string {
  try {
    return files.read(path).replace(/[\s\0]+$/, '')
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function unreadable(path: string, cause: unknown): StoreError {
  const code = errorCodeOf(cause)
  const retryable = code !== 'EACCES' && code !== 'EPERM'
  return new StoreError(`Cannot read sensor "${path}": found ${code}, expected text`, { cause, retryable })
}

/** As `readText`; undefined where there is no such file. */
export function findText(files: SystemFiles, path: string): string | undefined {
  try {
    return readText(files, path)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/**
 * A number with or without a unit behind it ("32760 ma" of old drivers).
 *
 * @throws {StoreError} If it cannot be read or is no number.
 */
export function readNumber(files: SystemFiles, path: string): number {
  return parseNumber(readText(files, path), path)
}

/** As `readNumber`, of a file that is read many times a second: it stays open between. */
export function readNumberOften(files: SystemFiles, path: string): number {
  let value: number | undefined
  try {
    value = files.readWholeNumber?.(path)
  } catch (cause) {
    throw unreadable(path, cause)
  }
  return value ?? readNumber(files, path)
}

function parseNumber(text: string, path: string): number {
  const value = Number(text.split(' ')[0])
  if (text === '' || !Number.isFinite(value))
    throw new StoreError(`Cannot read sensor "${path}": found "${text}", expected a number`, { retryable: true })
  return value
}

/** What a read gives; undefined where it fails: a block that is powered down, or a file that is not for this user. */
export function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Names in a folder, those with numbers in the order of their numbers; empty where there is no such folder. */
export function listFolder(files: SystemFiles, path: string): string[] {
  try {
    return files.list(path).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  } catch (error) {
    if (isAbsent(error)) return []
    throw new StoreError(`Cannot list "${path}": found ${errorCodeOf(error)}, expected a folder`, {
      cause: error,
      retryable: true,
    })
  }
}
