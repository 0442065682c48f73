import type { DeviceId } from '@espalier/shared/ids'
import { type Telemetry, telemetrySchema } from '@espalier/shared/messages/device'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import { type SlotEstimate, slotEstimateSchema } from '../estimate/slot-estimate.ts'
import { addTelemetry, holdCounters } from '../ingest/counters.ts'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

/** Counters of a device over all its boots. */
export interface TelemetryRow {
  readonly boot: string
  readonly seq: number
  /** Milliseconds since that boot. */
  readonly monoMs: number
  readonly totals: Telemetry
}

/** One message's totals, when it came. */
export interface Sample extends TelemetryRow {
  readonly atMs: number
}

/** About twenty minutes of a device at one message a second. */
const KEPT_SAMPLES = 1200
/** Late messages of this many boots before the present one are recognised as late. */
const KEPT_BOOTS = 16

const rowSchema = z.object({
  boot: z.string(),
  seq: z.int(),
  mono_ms: z.number(),
  past_boots: z.string(),
  body: z.string(),
  base: z.string(),
})
const sampleSchema = rowSchema.pick({ boot: true, seq: true, mono_ms: true, body: true }).extend({ at_ms: z.int() })
const estimateSchema = z.object({ device: z.string(), slot: z.string(), body: z.string() })
const emptyTelemetry: Telemetry = {
  energy: [],
  slots: [],
  self: { rssBytes: 0, cpuSeconds: 0, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 },
}

export type TelemetryTable = ReturnType<typeof telemetryTable>

export function telemetryTable(db: Database) {
  const get = db.prepare('SELECT * FROM telemetry WHERE device = ?')
  const put = db.prepare(
    `INSERT INTO telemetry VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET boot = excluded.boot,
     seq = excluded.seq, mono_ms = excluded.mono_ms, past_boots = excluded.past_boots, body = excluded.body,
     base = excluded.base`,
  )
  const putSample = db.prepare('INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)')
  const prune = db.prepare(
    `DELETE FROM samples WHERE device = ? AND at_ms <
     (SELECT at_ms FROM samples WHERE device = ? ORDER BY at_ms DESC LIMIT 1 OFFSET ${KEPT_SAMPLES})`,
  )
  const since = db.prepare(
    'SELECT at_ms, boot, seq, mono_ms, body FROM samples WHERE device = ? AND at_ms >= ? ORDER BY at_ms, seq',
  )
  const putEstimate = db.prepare(
    'INSERT INTO estimates VALUES (?, ?, ?) ON CONFLICT (device, slot) DO UPDATE SET body = excluded.body',
  )
  const estimates = db.prepare('SELECT device, slot, body FROM estimates')

  const read = (device: DeviceId) => {
    const row = get.get(device)
    if (row === undefined) return undefined
    const { boot, seq, mono_ms, past_boots, body, base } = rowSchema.parse(row)
    return {
      boot,
      seq,
      monoMs: mono_ms,
      pastBoots: parseColumn(past_boots, z.array(z.string()), 'telemetry.past_boots'),
      body: parseColumn(body, telemetrySchema, 'telemetry.body'),
      base: parseColumn(base, telemetrySchema, 'telemetry.base'),
    }
  }

  return {
    /**
     * Take a message's counters in. Order is that of (boot, sequence): a repeated or late message changes nothing,
     * a new boot starts from the totals of those before it, and no total ever goes back.
     *
     * @returns The row before and after; undefined if the message was repeated or late.
     */
    accumulate: inTransaction(
      db,
      (
        device: DeviceId,
        envelope: Envelope<Telemetry>,
        atMs: number,
      ): { before: TelemetryRow | undefined; after: TelemetryRow } | undefined => {
        const { boot, seq, mono } = envelope
        const row = read(device)
        if (row !== undefined && (row.pastBoots.includes(boot) || (row.boot === boot && seq <= row.seq)))
          return undefined
        const isSameBoot = row?.boot === boot
        const body = isSameBoot ? holdCounters(row.body, envelope.body) : envelope.body
        const base = row === undefined ? emptyTelemetry : isSameBoot ? row.base : addTelemetry(row.base, row.body)
        const pastBoots = row === undefined ? [] : isSameBoot ? row.pastBoots : [...row.pastBoots, row.boot]
        const totals = addTelemetry(base, body)
        put.run(
          device,
          boot,
          seq,
          mono,
          JSON.stringify(pastBoots.slice(-KEPT_BOOTS)),
          JSON.stringify(body),
          JSON.stringify(base),
        )
        putSample.run(device, Math.round(atMs), boot, seq, mono, JSON.stringify(totals))
        prune.run(device, device)
        const before = row && {
          boot: row.boot,
          seq: row.seq,
          monoMs: row.monoMs,
          totals: addTelemetry(row.base, row.body),
        }
        return { before, after: { boot, seq, monoMs: mono, totals } }
      },
    ),
    /** The last totals of a device; undefined before any. */
    last(device: DeviceId): TelemetryRow | undefined {
      const row = read(device)
      return row && { boot: row.boot, seq: row.seq, monoMs: row.monoMs, totals: addTelemetry(row.base, row.body) }
    },
    /** In order of arrival. */
    samplesSince: (device: DeviceId, sinceMs: number): Sample[] =>
      z
        .array(sampleSchema)
        .parse(since.all(device, Math.round(sinceMs)))
        .map(({ at_ms, boot, seq, mono_ms, body }) => ({
          atMs: at_ms,
          boot,
          seq,
          monoMs: mono_ms,
          totals: parseColumn(body, telemetrySchema, 'samples.body'),
        })),
    saveEstimate(device: DeviceId, slot: string, estimate: SlotEstimate): void {
      putEstimate.run(device, slot, JSON.stringify(estimate))
    },
    estimates: () =>
      z
        .array(estimateSchema)
        .parse(estimates.all())
        .map(({ device, slot, body }) => ({
          device,
          slot,
          estimate: parseColumn(body, slotEstimateSchema, 'estimates.body'),
        })),
  }
}
