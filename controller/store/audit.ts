import { z } from 'zod'
import type { Database } from './database.ts'
import { parseColumn } from './json-column.ts'

export const auditKindSchema = z.enum(['budget', 'rollout', 'command', 'alert-rule', 'family'])
export type AuditKind = z.infer<typeof auditKindSchema>

/** Who changed something. */
export interface Actor {
  /** Name of an operator's credentials; `local` where none are asked for. */
  readonly name: string
  /** Where the request came from. */
  readonly address?: string | undefined
}

/** What the controller does by itself. */
export const CONTROLLER: Actor = { name: 'controller' }

export interface AuditEntry {
  readonly id: number
  readonly atMs: number
  readonly actor: string
  readonly address: string | undefined
  readonly kind: AuditKind
  readonly action: string
  readonly subject: string
  readonly before: unknown
  readonly after: unknown
}

export interface AuditNote {
  readonly atMs: number
  readonly by?: Actor | undefined
  readonly kind: AuditKind
  readonly action: string
  readonly subject: string
  readonly before?: unknown
  readonly after?: unknown
}

export interface AuditFilter {
  readonly kind?: AuditKind | undefined
  readonly action?: string | undefined
  readonly subject?: string | undefined
  readonly actor?: string | undefined
  readonly sinceMs?: number | undefined
  readonly untilMs?: number | undefined
  /** Entries before this id only. */
  readonly before?: number | undefined
  readonly limit: number
}

const rowSchema = z.object({
  id: z.int(),
  at_ms: z.int(),
  actor: z.string(),
  address: z.string().nullable(),
  kind: auditKindSchema,
  action: z.string(),
  subject: z.string(),
  before: z.string().nullable(),
  after: z.string().nullable(),
})

export type AuditTable = ReturnType<typeof auditTable>

/** Who changed what, when. Rows are added and never touched again: the database refuses. */
export function auditTable(db: Database) {
  const put = db.prepare(
    'INSERT INTO audit (at_ms, actor, address, kind, action, subject, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const text = (value: unknown): string | null => (value === undefined || value === null ? null : JSON.stringify(value))
  const value = (body: string | null, name: string): unknown =>
    body === null ? undefined : parseColumn(body, z.unknown(), name)
  return {
    add({ atMs, by = CONTROLLER, kind, action, subject, before, after }: AuditNote): void {
      put.run(Math.round(atMs), by.name, by.address ?? null, kind, action, subject, text(before), text(after))
    },
    /** Latest first. */
    page(filter: AuditFilter): AuditEntry[] {
      const conditions: [string, unknown][] = [
        ['kind = ?', filter.kind],
        ['action = ?', filter.action],
        ['subject = ?', filter.subject],
        ['actor = ?', filter.actor],
        ['at_ms >= ?', filter.sinceMs],
        ['at_ms <= ?', filter.untilMs],
        ['id < ?', filter.before],
      ]
      const used = conditions.filter(([, wanted]) => wanted !== undefined)
      const where = used.length === 0 ? '' : `WHERE ${used.map(([sql]) => sql).join(' AND ')}`
      const rows = db
        .prepare(`SELECT * FROM audit ${where} ORDER BY id DESC LIMIT ?`)
        .all(...used.map(([, wanted]) => wanted), filter.limit)
      return z
        .array(rowSchema)
        .parse(rows)
        .map(({ at_ms, address, before, after, ...row }) => ({
          ...row,
          atMs: at_ms,
          address: address ?? undefined,
          before: value(before, 'audit.before'),
          after: value(after, 'audit.after'),
        }))
    },
  }
}
