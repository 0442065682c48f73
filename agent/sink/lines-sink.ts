import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatClassification } from '@espalier/shared/classifier/classification'
import { frameFileName, openBoundedFolder } from './bounded-folder.ts'
import type { Sink } from './sink.ts'

const EXTENSION = '.jsonl'
/** Lines of a file: some hours of one frame a second, a few minutes of thirty. */
const LINES_PER_FILE = 10_000

/**
 * Keeps the newest classifications as lines of JSON - sequence, capturedMs (since 1970), index, label, score - in files named by the capture
 * time of their first line. A power loss may cost the last lines, or half of one.
 */
export async function openLinesSink(path: string, { maxFiles }: { maxFiles: number }): Promise<Sink> {
  const folder = await openBoundedFolder(path, { maxFiles, extension: EXTENSION })
  let file: { readonly name: string; lines: number } | undefined
  return {
    async send(frame) {
      const { sequence, capturedWallMs, result } = frame
      if (result.kind !== 'classification') return false
      try {
        if (file === undefined || file.lines >= LINES_PER_FILE) {
          file = { name: frameFileName(frame, EXTENSION), lines: 0 }
          await folder.add(file.name)
        }
        const head = JSON.stringify({ sequence, capturedMs: Math.round(capturedWallMs) }).slice(0, -1)
        await appendFile(join(path, file.name), `${head},${formatClassification(result.classification).slice(1)}\n`)
        file.lines++
        return true
      } catch {
        // A full or unplugged disk must not stop the slot: the frame counts as unsent.
        return false
      }
    },
    close: async () => undefined,
  }
}
