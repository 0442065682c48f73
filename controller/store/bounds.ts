import { z } from 'zod'
import { type RowMargin, rowMarginSchema } from '../estimate/row-margin.ts'
import type { Database } from './database.ts'
import { parseColumn } from './json-column.ts'

const bodySchema = z.object({ latencyK: z.number().positive(), rows: z.array(z.tuple([z.string(), rowMarginSchema])) })
const rowSchema = z.object({ body: z.string() })

/** How wide the bounds of a plan must be, as learned. */
export interface Bounds {
  readonly latencyK: number
  /** By limit: `site:<id>`, `gateway:<id>`, `power`, `carbon`. */
  readonly rows: ReadonlyMap<string, RowMargin>
}

export type BoundsTable = ReturnType<typeof boundsTable>

/** One row, replaced with each plan. */
export function boundsTable(db: Database) {
  const put = db.prepare('INSERT INTO bounds VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body')
  const get = db.prepare('SELECT body FROM bounds')
  return {
    save({ latencyK, rows }: Bounds): void {
      put.run(JSON.stringify({ latencyK, rows: [...rows] }))
    },
    /** Undefined before anything was learned. */
    load(): Bounds | undefined {
      const row = get.get()
      if (row === undefined) return undefined
      const { latencyK, rows } = parseColumn(rowSchema.parse(row).body, bodySchema, 'bounds.body')
      return { latencyK, rows: new Map(rows) }
    },
  }
}
