import type { DeviceId } from '@espalier/shared/ids'
import { type Telemetry, telemetrySchema } from '@espalier/shared/messages/device'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import { type SlotEstimate, slotEstimateSchema } from '../estimate/slot-estimate.ts'
import { addTelemetry, holdCounters } from '../ingest/counters.ts'
import type { BootTable } from './boots.ts'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

/** Counters of one boot of a device, up to a message. */
export interface TelemetryRow {
  readonly boot: string
  readonly seq: number
  /** Milliseconds since that boot. */
  readonly monoMs: number
  readonly counters: Telemetry
}

/** A message's counters, when they were so. */
export interface Sample extends TelemetryRow {
  readonly atMs: number
}

/** About twenty minutes of a device at one message a second. */
const KEPT_SAMPLES = 1200
/** Counters of so many boots are kept apart, so that whatever is late finds its own; older ones are added up. */
const KEPT_BOOTS = 16
/** Boots that were added up are recognised this long. */
const KEPT_NAMES = 256

const rowSchema = z.object({ boot: z.string(), seq: z.int(), mono_ms: z.number(), body: z.string() })
const sampleSchema = rowSchema.extend({ at_ms: z.int() })
const pastSchema = z.object({ boots: z.string(), body: z.string() })
const estimateSchema = z.object({ device: z.string(), slot: z.string(), body: z.string() })
const emptyTelemetry: Telemetry = {
  energy: [],
  slots: [],
  self: { rssBytes: 0, cpuSeconds: 0, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 },
}

interface Past {
  readonly boots: readonly string[]
  readonly counters: Telemetry
}

export type TelemetryTable = ReturnType<typeof telemetryTable>

export function telemetryTable(db: Database, boots: BootTable) {
  const get = db.prepare('SELECT boot, seq, mono_ms, body FROM boot_counters WHERE device = ? AND boot = ?')
  const all = db.prepare('SELECT boot, seq, mono_ms, body FROM boot_counters WHERE device = ?')
  const put = db.prepare(
    `INSERT INTO boot_counters VALUES (?, ?, ?, ?, ?) ON CONFLICT (device, boot) DO UPDATE SET seq = excluded.seq,
     mono_ms = excluded.mono_ms, body = excluded.body`,
  )
  const drop = db.prepare('DELETE FROM boot_counters WHERE device = ? AND boot = ?')
  const getPast = db.prepare('SELECT boots, body FROM past_counters WHERE device = ?')
  const putPast = db.prepare(
    'INSERT INTO past_counters VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE SET boots = excluded.boots, body = excluded.body',
  )
  const putSample = db.prepare('INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)')
  const prune = db.prepare(
    `DELETE FROM samples WHERE device = ? AND at_ms <
     (SELECT at_ms FROM samples WHERE device = ? ORDER BY at_ms DESC LIMIT 1 OFFSET ${KEPT_SAMPLES})`,
  )
  const since = db.prepare(
    'SELECT at_ms, boot, seq, mono_ms, body FROM samples WHERE device = ? AND boot = ? AND at_ms >= ? ORDER BY seq',
  )
  const sinceMono = db.prepare(
    'SELECT at_ms, boot, seq, mono_ms, body FROM samples WHERE device = ? AND boot = ? AND mono_ms >= ? ORDER BY seq',
  )
  const putEstimate = db.prepare(
    'INSERT INTO estimates VALUES (?, ?, ?) ON CONFLICT (device, slot) DO UPDATE SET body = excluded.body',
  )
  const estimates = db.prepare('SELECT device, slot, body FROM estimates')
  /** Sum of all boots but one, which the next message is likely to be of. */
  const others = new Map<DeviceId, { readonly boot: string; readonly counters: Telemetry }>()

  const toRow = (row: unknown): TelemetryRow => {
    const { boot, seq, mono_ms, body } = rowSchema.parse(row)
    return { boot, seq, monoMs: mono_ms, counters: parseColumn(body, telemetrySchema, 'boot_counters.body') }
  }

  function past(device: DeviceId): Past {
    const row = getPast.get(device)
    if (row === undefined) return { boots: [], counters: emptyTelemetry }
    const parsed = pastSchema.parse(row)
    return {
      boots: parseColumn(parsed.boots, z.array(z.string()), 'past_counters.boots'),
      counters: parseColumn(parsed.body, telemetrySchema, 'past_counters.body'),
    }
  }

  /** Rows of a device's boots, in the order in which those happened. */
  function rows(device: DeviceId): TelemetryRow[] {
    const order = new Map(boots.list(device).map(({ boot }, i) => [boot, i]))
    return all
      .all(device)
      .map(toRow)
      .sort((a, b) => (order.get(a.boot) ?? -1) - (order.get(b.boot) ?? -1))
  }

  /** Add the oldest boots to the past once there are more than are kept apart. */
  function fold(device: DeviceId): void {
    const extra = rows(device).slice(0, -KEPT_BOOTS)
    if (extra.length === 0) return
    const before = past(device)
    const counters = extra.reduce((sum, row) => addTelemetry(sum, row.counters), before.counters)
    const names = [...before.boots, ...extra.map(({ boot }) => boot)].slice(-KEPT_NAMES)
    putPast.run(device, JSON.stringify(names), JSON.stringify(counters))
    for (const { boot } of extra) drop.run(device, boot)
  }

  function sumOfOthers(device: DeviceId, boot: string): Telemetry {
    const held = others.get(device)
    if (held?.boot === boot) return held.counters
    const counters = rows(device)
      .filter((row) => row.boot !== boot)
      .reduce((sum, row) => addTelemetry(sum, row.counters), past(device).counters)
    others.set(device, { boot, counters })
    return counters
  }

  return {
    /**
     * Take a message's counters in: of each boot the newest message counts, and the device's total is the sum of its
     * boots. So nothing is counted twice or lost whatever is repeated, late, or in another order; no total ever goes back.
     *
     * @returns The boot's row before and after; undefined if the message was repeated or late.
     */
    accumulate: inTransaction(
      db,
      (
        device: DeviceId,
        envelope: Envelope<Telemetry>,
        atMs: number,
      ): { before: TelemetryRow | undefined; after: TelemetryRow } | undefined => {
        const { boot, seq, mono } = envelope
        const found = get.get(device, boot)
        const before = found === undefined ? undefined : toRow(found)
        if (before !== undefined ? seq <= before.seq : past(device).boots.includes(boot)) return undefined
        const counters = before === undefined ? envelope.body : holdCounters(before.counters, envelope.body)
        const body = JSON.stringify(counters)
        put.run(device, boot, seq, mono, body)
        if (others.get(device)?.boot !== boot) others.delete(device)
        if (before === undefined) fold(device)
        putSample.run(device, Math.round(atMs), boot, seq, mono, body)
        prune.run(device, device)
        return { before, after: { boot, seq, monoMs: mono, counters } }
      },
    ),
    /** Counters of a device over all its boots; undefined before any. */
    totals(device: DeviceId): Telemetry | undefined {
      const newest = boots.newest(device)
      const found = newest && get.get(device, newest.boot)
      if (found !== undefined) return addTelemetry(sumOfOthers(device, newest!.boot), toRow(found).counters)
      // Nothing of this boot yet.
      return all.get(device) === undefined ? undefined : sumOfOthers(device, newest?.boot ?? '')
    },
    /** Of the boot that runs now, oldest first: what came late from others is in the totals. */
    samplesSince(device: DeviceId, sinceMs: number): Sample[] {
      const newest = boots.newest(device)
      if (newest === undefined) return []
      const zeroMs = newest.contactZeroMs
      const found =
        zeroMs === undefined
          ? since.all(device, newest.boot, Math.round(sinceMs))
          : sinceMono.all(device, newest.boot, sinceMs - zeroMs)
      return z
        .array(sampleSchema)
        .parse(found)
        .map(({ at_ms, boot, seq, mono_ms, body }) => ({
          atMs: zeroMs === undefined ? at_ms : Math.round(zeroMs + mono_ms),
          boot,
          seq,
          monoMs: mono_ms,
          counters: parseColumn(body, telemetrySchema, 'samples.body'),
        }))
    },
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
