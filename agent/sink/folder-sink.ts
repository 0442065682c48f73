import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sink } from './sink.ts'

/**
 * Keeps the newest streams as `.esp` files, named by capture time so that they sort. A reader never sees half a
 * file; a power loss may cost the last ones.
 */
export async function openFolderSink(path: string, { maxFiles }: { maxFiles: number }): Promise<Sink> {
  await mkdir(path, { recursive: true })
  const files = (await readdir(path)).filter((name) => name.endsWith('.esp')).sort()
  return {
    async send({ sequence, capturedWallMs, stream }) {
      const name = `${String(Math.round(capturedWallMs)).padStart(14, '0')}-${String(sequence).padStart(8, '0')}.esp`
      try {
        const aside = join(path, `${name}.new`)
        await writeFile(aside, stream)
        await rename(aside, join(path, name))
        files.push(name)
        while (files.length > maxFiles) await rm(join(path, files.shift()!), { force: true })
        return true
      } catch {
        // A full or unplugged disk must not stop the slot: the frame counts as unsent.
        return false
      }
    },
    close: async () => undefined,
  }
}
