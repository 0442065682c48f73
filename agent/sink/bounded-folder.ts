import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { SinkFrame } from './sink.ts'

/** A folder that keeps its newest files of one kind. */
export interface BoundedFolder {
  /** Count a new file in; the oldest give way. */
  add(name: string): Promise<void>
}

/** A name that sorts by capture time. @param extension With its dot. */
export function frameFileName({ capturedWallMs, sequence }: SinkFrame, extension: string): string {
  return `${String(Math.round(capturedWallMs)).padStart(14, '0')}-${String(sequence).padStart(8, '0')}${extension}`
}

/** Files that are there already count. */
export async function openBoundedFolder(
  path: string,
  { maxFiles, extension }: { maxFiles: number; extension: string },
): Promise<BoundedFolder> {
  await mkdir(path, { recursive: true })
  const files = (await readdir(path)).filter((name) => name.endsWith(extension)).sort()
  return {
    async add(name) {
      files.push(name)
      while (files.length > maxFiles) await rm(join(path, files.shift()!), { force: true })
    },
  }
}
