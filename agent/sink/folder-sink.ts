import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { frameFileName, openBoundedFolder } from './bounded-folder.ts'
import type { Sink } from './sink.ts'

const EXTENSION = '.esp'

/**
 * Keeps the newest streams as `.esp` files, named by capture time so that they sort. A reader never sees half a
 * file; a power loss may cost the last ones.
 */
export async function openFolderSink(path: string, { maxFiles }: { maxFiles: number }): Promise<Sink> {
  const folder = await openBoundedFolder(path, { maxFiles, extension: EXTENSION })
  return {
    async send(frame) {
      if (frame.result.kind !== 'stream') return false
      const name = frameFileName(frame, EXTENSION)
      try {
        const aside = join(path, `${name}.new`)
        await writeFile(aside, frame.result.stream)
        await rename(aside, join(path, name))
        await folder.add(name)
        return true
      } catch {
        // A full or unplugged disk must not stop the slot: the frame counts as unsent.
        return false
      }
    },
    close: async () => undefined,
  }
}
