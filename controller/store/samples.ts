import type { DeviceId } from '@espalier/shared/ids'
import { telemetrySchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import type { Database } from './database.ts'
import { parseColumn } from './json-column.ts'
import type { Sample } from './telemetry.ts'

const rowSchema = z.object({ at_ms: z.number(), boot: z.string(), seq: z.int(), mono_ms: z.number(), body: z.string() })

/** Slow slots do a frame in seconds: less than this says little. */
const MIN_BUCKET_MS = 5000

export type SampleTable = ReturnType<typeof sampleTable>

/** The kept telemetry of devices, thinned for people to look at; `telemetryTable` writes it. */
export function sampleTable(db: Database) {
  // Of an aggregate with max() SQLite takes the other columns from the row that has the maximum.
  const thinned = db.prepare(
    `SELECT max(at_ms) AS at_ms, boot, seq, mono_ms, body FROM samples WHERE device = ? AND at_ms >= ?
     GROUP BY boot, CAST(at_ms / ? AS INTEGER) ORDER BY at_ms`,
  )
  const span = db.prepare('SELECT min(at_ms) AS at_ms FROM samples WHERE device = ?')
  return {
    /** Counters at about `points` moments, oldest first; of each stretch of time the latest. */
    thinned(device: DeviceId, sinceMs: number, nowMs: number, points: number): Sample[] {
      const { at_ms: oldestMs } = z.object({ at_ms: z.number().nullable() }).parse(span.get(device))
      if (oldestMs === null) return []
      const fromMs = Math.round(Math.max(sinceMs, oldestMs))
      const bucketMs = Math.max(MIN_BUCKET_MS, Math.ceil((nowMs - fromMs) / points))
      return z
        .array(rowSchema)
        .parse(thinned.all(device, fromMs, bucketMs))
        .map(({ at_ms, mono_ms, body, ...row }) => ({
          ...row,
          atMs: at_ms,
          monoMs: mono_ms,
          counters: parseColumn(body, telemetrySchema, 'samples.body'),
        }))
    },
  }
}
