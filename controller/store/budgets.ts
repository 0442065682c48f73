import { z } from 'zod'
import type { Actor, AuditTable } from './audit.ts'
import { type Database, inTransaction } from './database.ts'

/** `site:<id>` limits an uplink, `fleet` limits power. */
export interface Budget {
  readonly rateBps?: number | undefined
  readonly powerW?: number | undefined
}

export interface BudgetChange {
  readonly atMs: number
  readonly key: string
  readonly before: Budget | undefined
  readonly after: Budget | undefined
}

const budgetSchema = z.object({ rateBps: z.number().optional(), powerW: z.number().optional() })
const rowSchema = z.object({ key: z.string(), rate_bps: z.int().nullable(), power_mw: z.int().nullable() })

export type BudgetTable = ReturnType<typeof budgetTable>

export function budgetTable(db: Database, audit: AuditTable) {
  const get = db.prepare('SELECT * FROM budgets WHERE key = ?')
  const all = db.prepare('SELECT * FROM budgets ORDER BY key')
  const put = db.prepare(
    `INSERT INTO budgets VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
     SET rate_bps = excluded.rate_bps, power_mw = excluded.power_mw`,
  )
  const drop = db.prepare('DELETE FROM budgets WHERE key = ?')

  const toBudget = (row: unknown): Budget | undefined => {
    if (row === undefined) return undefined
    const { rate_bps, power_mw } = rowSchema.parse(row)
    return {
      ...(rate_bps === null ? {} : { rateBps: rate_bps }),
      ...(power_mw === null ? {} : { powerW: power_mw / 1000 }),
    }
  }

  return {
    /** Set or, with undefined, remove; the change is noted in the same transaction. */
    change: inTransaction(db, (key: string, budget: Budget | undefined, atMs: number, by?: Actor): void => {
      const before = toBudget(get.get(key))
      if (budget === undefined) drop.run(key)
      else {
        const { rateBps, powerW } = budget
        put.run(
          key,
          rateBps === undefined ? null : Math.floor(rateBps),
          powerW === undefined ? null : Math.floor(powerW * 1000),
        )
      }
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
