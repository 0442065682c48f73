import type { DeviceId } from '@espalier/shared/ids'
import { type Birth, birthSchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import type { Database } from './database.ts'
import { parseColumn } from './json-column.ts'

const rowSchema = z.object({ body: z.string() })

export type BirthTable = ReturnType<typeof birthTable>

export function birthTable(db: Database) {
  const put = db.prepare(
    `INSERT INTO births VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE
     SET body = excluded.body, received_ms = excluded.received_ms`,
  )
  const all = db.prepare('SELECT body FROM births ORDER BY device')
  return {
    save(device: DeviceId, birth: Birth, receivedMs: number): void {
      put.run(device, JSON.stringify(birth), Math.round(receivedMs))
    },
    list: (): Birth[] =>
      z
        .array(rowSchema)
        .parse(all.all())
        .map(({ body }) => parseColumn(body, birthSchema, 'births.body')),
  }
}
