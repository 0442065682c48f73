import { z } from 'zod'
import { type Explanation, explanationSchema } from '../plan/explain.ts'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

export interface Decision {
  readonly device: string
  readonly slot: string
  readonly gen: number
  readonly atMs: number
  readonly why: Explanation
}

/** Kept for each slot. */
const KEPT = 200

const rowSchema = z.object({ device: z.string(), slot: z.string(), gen: z.int(), at_ms: z.int(), body: z.string() })

export type DecisionTable = ReturnType<typeof decisionTable>

export function decisionTable(db: Database) {
  const put = db.prepare('INSERT INTO decisions (device, slot, gen, at_ms, body) VALUES (?, ?, ?, ?, ?)')
  const prune = db.prepare(
    `DELETE FROM decisions WHERE device = ? AND slot = ? AND id <=
     (SELECT id FROM decisions WHERE device = ? AND slot = ? ORDER BY id DESC LIMIT 1 OFFSET ${KEPT})`,
  )
  const recent = db.prepare(
    'SELECT device, slot, gen, at_ms, body FROM decisions WHERE device = ? ORDER BY id DESC LIMIT ?',
  )
  return {
    add: inTransaction(db, ({ device, slot, gen, atMs, why }: Decision): void => {
      put.run(device, slot, gen, Math.round(atMs), JSON.stringify(why))
      prune.run(device, slot, device, slot)
    }),
    /** Latest first. */
    recent: (device: string, limit: number): Decision[] =>
      z
        .array(rowSchema)
        .parse(recent.all(device, limit))
        .map(({ at_ms, body, ...row }) => ({
          ...row,
          atMs: at_ms,
          why: parseColumn(body, explanationSchema, 'decisions.body'),
        })),
  }
}
