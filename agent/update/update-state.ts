import { digestSchema } from '@espalier/shared/ids'
import { familyOrderSchema } from '@espalier/shared/messages/controller'
import { z } from 'zod'

/** Where a slot is on its way to another version of its family: DESIGN 9. The first, and the last three, are restful. */
export const PHASES = ['idle', 'fetch', 'verify', 'warm', 'trial', 'committed', 'rolled-back', 'safe'] as const
export type Phase = (typeof PHASES)[number]

/** What one slot knows of its versions, as it is on disk. */
export const updateStateSchema = z.object({
  version: z.literal(1),
  phase: z.enum(PHASES),
  /** The version that a start runs: the last one that was committed. */
  running: digestSchema,
  /** The one before: where a roll-back leads. */
  lastGood: digestSchema.optional(),
  /** Only the smallest variant of `running` is run. */
  isSafe: z.boolean(),
  /** The version that it goes, or did not get, to. */
  target: familyOrderSchema.optional(),
  /** Times that this target was tried. */
  attempt: z.int().min(0),
  /** Times that what was fetched for it turned out to be damaged on the disk. */
  repairs: z.int().min(0),
  /** Times that its warming or its trial was cut off by the end of this process. */
  cuts: z.int().min(0),
  /** Starts since one worked for a while. */
  starts: z.int().min(0),
  isPaused: z.boolean(),
  reason: z.string().max(500).optional(),
  evidence: z.record(z.string(), z.unknown()).optional(),
})
export type UpdateState = z.infer<typeof updateStateSchema>

export function initialUpdateState(installed: UpdateState['running']): UpdateState {
  return {
    version: 1,
    phase: 'idle',
    running: installed,
    isSafe: false,
    attempt: 0,
    repairs: 0,
    cuts: 0,
    starts: 0,
    isPaused: false,
  }
}

/** Nothing is under way. */
export function isResting({ phase }: Pick<UpdateState, 'phase'>): boolean {
  return phase === 'idle' || phase === 'committed' || phase === 'rolled-back' || phase === 'safe'
}

/** Versions that must stay on disk. */
export function pinnedBy(state: UpdateState): UpdateState['running'][] {
  const { running, lastGood, target } = state
  return [running, ...(lastGood ? [lastGood] : []), ...(target && !isResting(state) ? [target.manifestDigest] : [])]
}
