import { z } from 'zod'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

/**
 * `site:<id>` limits an uplink and says where it leads and what feeds it, `gateway:<id>` limits the uplink that sites share,
 * `fleet` power and carbon, `device:<id>` the power of one device.
 */
const budgetSchema = z.object({
  rateBps: z.number().optional(),
  powerW: z.number().optional(),
  /** g/h. */
  carbonGPerH: z.number().optional(),
  /** The gateway that a site's uplink goes through. */
  gateway: z.string().optional(),
  /** Of the grid that feeds a site, g/kWh. */
  carbonGPerKwh: z.number().optional(),
})
export type Budget = Readonly<z.infer<typeof budgetSchema>>

export interface BudgetChange {
  readonly atMs: number
  readonly key: string
  readonly before: Budget | undefined
  readonly after: Budget | undefined
}

const rowSchema = z.object({ key: z.string(), body: z.string() })
const auditSchema = z.object({
  at_ms: z.int(),
  key: z.string(),
  before: z.string().nullable(),
  after: z.string().nullable(),
})

export type BudgetTable = ReturnType<typeof budgetTable>

export function budgetTable(db: Database) {
  const get = db.prepare('SELECT * FROM budgets WHERE key = ?')
  const all = db.prepare('SELECT * FROM budgets ORDER BY key')
  const put = db.prepare('INSERT INTO budgets VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body')
  const drop = db.prepare('DELETE FROM budgets WHERE key = ?')
  const note = db.prepare('INSERT INTO budget_audit (at_ms, key, before, after) VALUES (?, ?, ?, ?)')
  const changes = db.prepare('SELECT at_ms, key, before, after FROM budget_audit ORDER BY id DESC LIMIT ?')

  const toBudget = (row: unknown): Budget | undefined =>
    row === undefined ? undefined : parseColumn(rowSchema.parse(row).body, budgetSchema, 'budgets.body')
  const text = (budget: Budget | undefined) => (budget === undefined ? null : JSON.stringify(budget))
  const fromText = (body: string | null, name: string) =>
    body === null ? undefined : parseColumn(body, budgetSchema, name)

  return {
    /** Set or, with undefined, remove; the change is noted in the same transaction. */
    change: inTransaction(db, (key: string, budget: Budget | undefined, atMs: number): void => {
      const before = toBudget(get.get(key))
      if (budget === undefined) drop.run(key)
      else put.run(key, JSON.stringify(budget))
      if (before !== undefined || budget !== undefined) note.run(Math.round(atMs), key, text(before), text(budget))
    }),
    list: (): ReadonlyMap<string, Budget> =>
      new Map(all.all().map((row) => [rowSchema.parse(row).key, toBudget(row)!] as const)),
    /** Latest first. */
    audit: (limit: number): BudgetChange[] =>
      z
        .array(auditSchema)
        .parse(changes.all(limit))
        .map(({ at_ms, key, before, after }) => ({
          atMs: at_ms,
          key,
          before: fromText(before, 'budget_audit.before'),
          after: fromText(after, 'budget_audit.after'),
        })),
  }
}
