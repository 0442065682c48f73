import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type FileCalls, fileCalls, writeAtomically } from '../twin/atomic-file.ts'

const fileSchema = z.object({ version: z.literal(1), boots: z.int().min(0), wallMs: z.number() })

export interface CountedBoot {
  /** Starts of the agent on this data folder, this one included; undefined: the count was lost or cannot be written. */
  readonly bootNumber: number | undefined
  /** The latest wall time that was written down before; 0: none. */
  readonly knownWallMs: number
}

/** Count a start of the agent: one write. A disk that refuses it costs the order of boots, not the start. */
export function countBoot(
  dataDir: string,
  wallMs: number,
  { calls = fileCalls, onError }: { calls?: FileCalls; onError: (error: unknown) => void },
): CountedBoot {
  const path = join(dataDir, 'boot.json')
  let before: { boots: number; wallMs: number } = { boots: 0, wallMs: 0 }
  let isLost = false
  try {
    before = fileSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    isLost = (error as NodeJS.ErrnoException).code !== 'ENOENT'
    if (isLost) onError(error)
  }
  const boots = before.boots + 1
  const knownWallMs = before.wallMs
  try {
    const body = { version: 1, boots, wallMs: Math.max(wallMs, knownWallMs) }
    writeAtomically(path, new TextEncoder().encode(JSON.stringify(body)), calls)
  } catch (error) {
    onError(error)
    return { bootNumber: undefined, knownWallMs }
  }
  return { bootNumber: isLost ? undefined : boots, knownWallMs }
}
