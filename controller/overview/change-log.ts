import { z } from 'zod'

/** Something that changed in the fleet, and why. */
export const changeSchema = z.object({
  atMs: z.number(),
  kind: z.enum(['configuration', 'state', 'budget', 'event', 'alarm']),
  /** Absent where no one device is meant. */
  device: z.string().optional(),
  slot: z.string().optional(),
  /** For people: from what to what. */
  what: z.string(),
  /** What binds, what the device said, or who set it. */
  why: z.string(),
  /** Changes of one cause are counted together. */
  cause: z.string(),
  /** Later minus earlier, as planned. */
  psnrDb: z.number().optional(),
  rateBps: z.number().optional(),
})
export type Change = z.infer<typeof changeSchema>

export const causeSchema = z.object({
  kind: changeSchema.shape.kind,
  cause: z.string(),
  changes: z.int(),
  devices: z.int(),
  lastMs: z.number(),
  /** Mean over those that say it. */
  psnrDb: z.number().optional(),
})
export type Cause = z.infer<typeof causeSchema>

/** Older ones go first; a plan that moves a large fleet is a few thousand of them. */
const KEPT = 20_000
const KEPT_MS = 3_600_000

/** The last hour of changes, in memory: what is older is in the tables of decisions, events and budgets. */
export class ChangeLog {
  #changes: Change[] = []

  add(change: Change): void {
    this.#changes.push(change)
    if (this.#changes.length > 1.2 * KEPT || this.#changes[0]!.atMs < change.atMs - 1.2 * KEPT_MS)
      this.#changes = this.#changes.slice(-KEPT).filter(({ atMs }) => atMs >= change.atMs - KEPT_MS)
  }

  /** Latest first. */
  since(sinceMs: number): Change[] {
    return this.#changes.filter(({ atMs }) => atMs >= sinceMs).reverse()
  }
}

/** Put changes together by cause, the one of most devices first. */
export function groupByCause(changes: readonly Change[]): Cause[] {
  const groups = new Map<string, Change[]>()
  for (const change of changes) {
    const key = `${change.kind} ${change.cause}`
    const members = groups.get(key)
    if (members === undefined) groups.set(key, [change])
    else members.push(change)
  }
  const causes = [...groups.values()].map((members): Cause => {
    const decibels = members.flatMap(({ psnrDb }) => (psnrDb === undefined ? [] : [psnrDb]))
    const { kind, cause } = members[0]!
    return {
      kind,
      cause,
      changes: members.length,
      devices: new Set(members.flatMap(({ device }) => device ?? [])).size,
      lastMs: members.reduce((last, { atMs }) => Math.max(last, atMs), 0),
      ...(decibels.length === 0 ? {} : { psnrDb: decibels.reduce((sum, db) => sum + db, 0) / decibels.length }),
    }
  })
  return causes.sort((a, b) => b.devices - a.devices || b.changes - a.changes)
}
