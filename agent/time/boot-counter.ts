import { join } from 'node:path'
import { z } from 'zod'
import type { FileCalls } from '../twin/atomic-file.ts'
import { StateFile } from '../twin/state-file.ts'

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
  { calls, onError }: { calls?: FileCalls; onError: (error: unknown) => void },
): CountedBoot {
  const file = new StateFile(join(dataDir, 'boot.json'), 'count of boots', fileSchema, calls)
  let isLost = false
  const before = file.load((error) => {
    isLost = true
    onError(error)
  })
  const boots = (before?.boots ?? 0) + 1
  const knownWallMs = before?.wallMs ?? 0
  try {
    file.save({ version: 1, boots, wallMs: Math.max(wallMs, knownWallMs) })
  } catch (error) {
    onError(error)
    return { bootNumber: undefined, knownWallMs }
  }
  return { bootNumber: isLost ? undefined : boots, knownWallMs }
}
