import { type DeviceId, deviceIdSchema } from '@espalier/shared/ids'
import { type State, stateSchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import type { Database } from './database.ts'

export interface DeviceRow {
  readonly id: DeviceId
  readonly state: State['state']
  readonly reason: string | undefined
  /** Births counted by the device: an older will cannot end a newer session. */
  readonly bd: number
  readonly lastSeenMs: number
}

const rowSchema = z.object({
  id: deviceIdSchema,
  state: stateSchema.shape.state,
  reason: z.string().nullable(),
  bd: z.int(),
  last_seen_ms: z.int(),
})

export type DeviceTable = ReturnType<typeof deviceTable>

export function deviceTable(db: Database) {
  const put = db.prepare(
    `INSERT INTO devices VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
     SET state = excluded.state, reason = excluded.reason, bd = excluded.bd, last_seen_ms = excluded.last_seen_ms`,
  )
  const all = db.prepare('SELECT * FROM devices ORDER BY id')
  return {
    save({ id, state, reason, bd, lastSeenMs }: DeviceRow): void {
      put.run(id, state, reason ?? null, bd, Math.round(lastSeenMs))
    },
    list: (): DeviceRow[] =>
      z
        .array(rowSchema)
        .parse(all.all())
        .map(({ last_seen_ms, reason, ...row }) => ({ ...row, reason: reason ?? undefined, lastSeenMs: last_seen_ms })),
  }
}
