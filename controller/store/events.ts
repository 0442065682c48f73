import type { DeviceId } from '@espalier/shared/ids'
import { type DeviceEvent, eventSchema } from '@espalier/shared/messages/device'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import type { Database } from './database.ts'
import { parseColumn } from './json-column.ts'

export interface StoredEvent {
  readonly boot: string
  readonly seq: number
  readonly monoMs: number
  /** When it came; when it happened is a question to the boots. */
  readonly receivedMs: number
  readonly event: DeviceEvent
}

/** Kept for each device. */
const KEPT = 2000

const rowSchema = z.object({
  boot: z.string(),
  seq: z.int(),
  mono_ms: z.number(),
  received_ms: z.int(),
  body: z.string(),
})

export type EventTable = ReturnType<typeof eventTable>

/** What devices told of, each once however often it came. */
export function eventTable(db: Database) {
  const put = db.prepare('INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)')
  const prune = db.prepare(
    `DELETE FROM events WHERE device = ? AND received_ms <
     (SELECT received_ms FROM events WHERE device = ? ORDER BY received_ms DESC LIMIT 1 OFFSET ${KEPT})`,
  )
  const recent = db.prepare(
    'SELECT boot, seq, mono_ms, received_ms, body FROM events WHERE device = ? ORDER BY received_ms DESC, seq DESC LIMIT ?',
  )
  return {
    /** @returns Whether it is new. */
    add(device: DeviceId, { boot, seq, mono, body }: Envelope<DeviceEvent>, receivedMs: number): boolean {
      const { changes } = put.run(device, boot, seq, mono, Math.round(receivedMs), JSON.stringify(body))
      if (changes === 1) prune.run(device, device)
      return changes === 1
    },
    /** Latest arrival first. */
    recent: (device: DeviceId, limit: number): StoredEvent[] =>
      z
        .array(rowSchema)
        .parse(recent.all(device, limit))
        .map(({ mono_ms, received_ms, body, ...row }) => ({
          ...row,
          monoMs: mono_ms,
          receivedMs: received_ms,
          event: parseColumn(body, eventSchema, 'events.body'),
        })),
  }
}
