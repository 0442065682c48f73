import { z } from 'zod'
import { type Member, memberSchema, type Rollout, rolloutSchema } from '../rollout/rollout.ts'
import type { AuditNote, AuditTable } from './audit.ts'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

/** What must be on disk together. */
export interface RolloutChange {
  readonly rollout?: Rollout
  readonly saved: readonly Member[]
  readonly dropped: readonly Pick<Member, 'device' | 'slot'>[]
  readonly notes: readonly AuditNote[]
}

const lastSchema = z.object({ last: z.int().nullable() })
const bodySchema = z.object({ body: z.string() })

export type RolloutTable = ReturnType<typeof rolloutTable>

export function rolloutTable(db: Database, audit: AuditTable) {
  const last = db.prepare('SELECT max(number) AS last FROM rollouts')
  const put = db.prepare(
    `INSERT INTO rollouts (number, id, body) VALUES ((SELECT coalesce(max(number), 0) + 1 FROM rollouts), ?, ?)
     ON CONFLICT (id) DO UPDATE SET body = excluded.body`,
  )
  const all = db.prepare('SELECT body FROM rollouts ORDER BY number')
  const putMember = db.prepare(
    `INSERT INTO rollout_members VALUES (?, ?, ?, ?) ON CONFLICT (rollout, device, slot) DO UPDATE SET body = excluded.body`,
  )
  const dropMember = db.prepare('DELETE FROM rollout_members WHERE rollout = ? AND device = ? AND slot = ?')
  const members = db.prepare('SELECT body FROM rollout_members WHERE rollout = ? ORDER BY device, slot')
  return {
    /** The id that the next rollout of a family gets. */
    nextId: (family: string): string => `${family}-${(lastSchema.parse(last.get()).last ?? 0) + 1}`,
    /** All of it, or nothing. */
    apply: inTransaction(db, (id: string, { rollout, saved, dropped, notes }: RolloutChange): void => {
      if (rollout !== undefined) put.run(id, JSON.stringify(rollout))
      for (const member of saved) putMember.run(id, member.device, member.slot, JSON.stringify(member))
      for (const { device, slot } of dropped) dropMember.run(id, device, slot)
      for (const note of notes) audit.add(note)
    }),
    /** In the order in which they were made. */
    list: (): Rollout[] =>
      z
        .array(bodySchema)
        .parse(all.all())
        .map(({ body }) => parseColumn(body, rolloutSchema, 'rollouts.body')),
    members: (id: string): Member[] =>
      z
        .array(bodySchema)
        .parse(members.all(id))
        .map(({ body }) => parseColumn(body, memberSchema, 'rollout_members.body')),
  }
}
