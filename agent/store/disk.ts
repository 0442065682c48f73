import { mkdir, open, readdir, rename, rm, stat, statfs, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * The files of a store, as calls that can fail or be cut short by a power loss; benches and tests hand in a disk that
 * does both. Asynchronous, unlike `FileCalls`: blobs are large, and a slow card must not hold up MQTT and sampling.
 */
export interface Disk {
  /** Undefined where there is no such file. */
  sizeOf(path: string): Promise<number | undefined>
  /** Names, in any order; none where there is no such folder. */
  list(folder: string): Promise<string[]>
  /** @returns Fewer bytes than asked for at the end of the file. */
  read(path: string, offset: number, bytes: number): Promise<Uint8Array>
  /** Makes the file and its folders where they are missing. */
  write(path: string, offset: number, data: Uint8Array): Promise<void>
  truncate(path: string, bytes: number): Promise<void>
  /** What was written is on the medium when this resolves. */
  sync(path: string): Promise<void>
  /** Names that came, went or changed in the folder are on the medium when this resolves. */
  syncFolder(folder: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Also a folder with all that is in it; no error where there is nothing. */
  remove(path: string): Promise<void>
  /** Bytes that may still be written to the file system that holds the folder. */
  freeBytes(folder: string): Promise<number>
}

const isAbsent = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

async function withFile<Result>(
  path: string,
  flags: string,
  use: (file: Awaited<ReturnType<typeof open>>) => Promise<Result>,
): Promise<Result> {
  const file = await open(path, flags)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

async function openForWriting(path: string): ReturnType<typeof open> {
  try {
    return await open(path, 'r+')
  } catch (error) {
    if (!isAbsent(error)) throw error
    await mkdir(dirname(path), { recursive: true })
    return open(path, 'w')
  }
}

/** The disk of this machine. */
export const disk: Disk = {
  async sizeOf(path) {
    try {
      return (await stat(path)).size
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  },
  async list(folder) {
    try {
      return await readdir(folder)
    } catch (error) {
      if (isAbsent(error)) return []
      throw error
    }
  },
  read: (path, offset, bytes) =>
    withFile(path, 'r', async (file) => {
      const data = new Uint8Array(bytes)
      let filled = 0
      while (filled < bytes) {
        const { bytesRead } = await file.read(data, filled, bytes - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return data.subarray(0, filled)
    }),
  async write(path, offset, data) {
    const file = await openForWriting(path)
    try {
      for (let written = 0; written < data.byteLength; )
        written += (await file.write(data, written, data.byteLength - written, offset + written)).bytesWritten
    } finally {
      await file.close()
    }
  },
  truncate,
  sync: (path) => withFile(path, 'r+', (file) => file.sync()),
  syncFolder: (folder) => withFile(folder, 'r', (file) => file.sync()),
  async rename(from, to) {
    await mkdir(dirname(to), { recursive: true })
    await rename(from, to)
  },
  remove: (path) => rm(path, { recursive: true, force: true }),
  async freeBytes(folder) {
    await mkdir(folder, { recursive: true })
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  },
}
