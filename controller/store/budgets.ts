import { z } from 'zod'
import type { Actor, AuditTable } from './audit.ts'
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

export type BudgetTable = ReturnType<typeof budgetTable>

export function budgetTable(db: Database, audit: AuditTable) {
  const get = db.prepare('SELECT * FROM budgets WHERE key = ?')
  const all = db.prepare('SELECT * FROM budgets ORDER BY key')
  const put = db.prepare('INSERT INTO budgets VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body')
  const drop = db.prepare('DELETE FROM budgets WHERE key = ?')

  const toBudget = (row: unknown): Budget | undefined =>
    row === undefined ? undefined : parseColumn(rowSchema.parse(row).body, budgetSchema, 'budgets.body')

  return {
    /** Set or, with undefined, remove; the change is noted in the same transaction. */
    change: inTransaction(db, (key: string, budget: Budget | undefined, atMs: number, by?: Actor): void => {
      const before = toBudget(get.get(key))
      if (budget === undefined) drop.run(key)
      else put.run(key, JSON.stringify(budget))
      if (before === undefined && budget === undefined) return
      const action = budget === undefined ? 'remove' : 'set'
      audit.add({ atMs, by, kind: 'budget', action, subject: key, before, after: budget })
    }),
    list: (): ReadonlyMap<string, Budget> =>
      new Map(all.all().map((row) => [rowSchema.parse(row).key, toBudget(row)!] as const)),
    /** Latest first. */
    audit: (limit: number): BudgetChange[] =>
      audit.page({ kind: 'budget', limit }).map(({ atMs, subject, before, after }) => ({
        atMs,
        key: subject,
        before: toLimits(before),
        after: toLimits(after),
      })),
  }
}

const toLimits = (value: unknown): Budget | undefined => (value === undefined ? undefined : budgetSchema.parse(value))
