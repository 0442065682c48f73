import { type DeviceId, deviceIdSchema } from '@espalier/shared/ids'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import { z } from 'zod'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

const rowSchema = z.object({ device: deviceIdSchema, body: z.string() })
const lastSchema = z.object({ last: z.int() })

export type DesiredTable = ReturnType<typeof desiredTable>

export function desiredTable(db: Database) {
  const last = db.prepare('SELECT last FROM generation')
  const setLast = db.prepare('UPDATE generation SET last = max(last, ?)')
  const put = db.prepare(
    `INSERT INTO desired VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE SET gen = excluded.gen, body = excluded.body`,
  )
  const all = db.prepare('SELECT device, body FROM desired ORDER BY device')
  return {
    /**
     * Commit what a device should run under the next generation. Publish only after this returned: a generation
     * that a device has seen is never given out again, whatever happens in between.
     */
    commit: inTransaction(db, (device: DeviceId, desired: Omit<Desired, 'gen'>): Desired => {
      const gen = lastSchema.parse(last.get()).last + 1
      const committed: Desired = { gen, ...desired }
      setLast.run(gen)
      put.run(device, gen, JSON.stringify(committed))
      return committed
    }),
    /** A device answered to a generation that this database never gave out (it was lost or restored): go beyond it. */
    raiseTo(gen: number): void {
      if (gen > lastSchema.parse(last.get()).last) setLast.run(gen)
    },
    list: (): ReadonlyMap<DeviceId, Desired> =>
      new Map(
        z
          .array(rowSchema)
          .parse(all.all())
          .map(({ device, body }) => [device, parseColumn(body, desiredSchema, 'desired.body')] as const),
      ),
  }
}
