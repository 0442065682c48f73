import type { DeviceId } from '@espalier/shared/ids'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import { type Beginning, type Boot, inOrder, reconstruct } from '../ingest/timeline.ts'
import type { Database } from './database.ts'

/** Better knowledge of a boot's beginning is worth a write from this much on. */
const WORTH_MS = 50
/** For each device, as many as counters are recognised of. */
const KEPT = 256

const rowSchema = z.object({
  boot: z.string(),
  number: z.int().nullable(),
  met: z.int(),
  contact_zero_ms: z.number().nullable(),
  own_zero_ms: z.number().nullable(),
  last_mono_ms: z.number(),
})

export type BootTable = ReturnType<typeof bootTable>

/** The runs of each device's agent, and what is known of when they were. */
export function bootTable(db: Database) {
  const meet = db.prepare(
    `INSERT OR IGNORE INTO boots (device, boot, number, met, last_mono_ms)
     VALUES (?, ?, ?, (SELECT coalesce(max(met), 0) + 1 FROM boots WHERE device = ?), 0)`,
  )
  const all = db.prepare(
    'SELECT boot, number, met, contact_zero_ms, own_zero_ms, last_mono_ms FROM boots WHERE device = ?',
  )
  const setContact = db.prepare('UPDATE boots SET contact_zero_ms = ? WHERE device = ? AND boot = ?')
  const setOwn = db.prepare('UPDATE boots SET own_zero_ms = ? WHERE device = ? AND boot = ?')
  const setLast = db.prepare('UPDATE boots SET last_mono_ms = max(last_mono_ms, ?) WHERE device = ? AND boot = ?')
  const uncount = db.prepare('UPDATE boots SET number = NULL WHERE device = ?')
  const prune = db.prepare(
    `DELETE FROM boots WHERE device = ? AND met <= (SELECT max(met) FROM boots WHERE device = ?) - ${KEPT}`,
  )
  /** As on disk, of devices that were heard since the start: each message asks. */
  const cached = new Map<DeviceId, Map<string, Boot>>()

  function read(device: DeviceId): Map<string, Boot> {
    const held = cached.get(device)
    if (held !== undefined) return held
    const boots = z
      .array(rowSchema)
      .parse(all.all(device))
      .map(
        (row): Boot => ({
          boot: row.boot,
          number: row.number ?? undefined,
          met: row.met,
          contactZeroMs: row.contact_zero_ms ?? undefined,
          ownZeroMs: row.own_zero_ms ?? undefined,
          lastMonoMs: row.last_mono_ms,
        }),
      )
    const byBoot = new Map(boots.map((boot) => [boot.boot, boot]))
    cached.set(device, byBoot)
    return byBoot
  }

  return {
    /**
     * Learn of a boot from a message.
     *
     * @param contactMs When it came, if it came at once; undefined for what waited in a spool or broker.
     */
    note(device: DeviceId, envelope: Envelope, contactMs: number | undefined): void {
      const { boot, bootNumber, mono, wall, clk } = envelope
      if (!read(device).has(boot)) {
        // What runs now is the newest: a device whose count does not say so has lost it.
        const isLost = [...read(device).values()].some(
          ({ number }) => number !== undefined && number >= (bootNumber ?? 0),
        )
        if (contactMs !== undefined && isLost) uncount.run(device)
        meet.run(device, boot, bootNumber ?? null, device)
        prune.run(device, device)
        cached.delete(device)
      }
      const boots = read(device)
      let known = boots.get(boot)!
      const contactZeroMs = contactMs === undefined ? undefined : contactMs - mono
      // No message comes before it was sent: the least is the nearest.
      if (contactZeroMs !== undefined && contactZeroMs < (known.contactZeroMs ?? Number.POSITIVE_INFINITY) - WORTH_MS) {
        setContact.run(contactZeroMs, device, boot)
        known = { ...known, contactZeroMs }
      }
      // Clocks are set once and then drift; the last word is as good as any.
      if (clk === 'ntp' && Math.abs(wall - mono - (known.ownZeroMs ?? Number.NEGATIVE_INFINITY)) > 1000) {
        setOwn.run(wall - mono, device, boot)
        known = { ...known, ownZeroMs: wall - mono }
      }
      if (mono > known.lastMonoMs) {
        // Behind by a little on disk: a boot's end is known to seconds, and flash and commits cost.
        if (mono - known.lastMonoMs > 10_000 || known.lastMonoMs === 0) setLast.run(mono, device, boot)
        known = { ...known, lastMonoMs: mono }
      }
      boots.set(boot, known)
    },
    /** Oldest first. */
    list: (device: DeviceId): Boot[] => inOrder([...read(device).values()]),
    /** The boot that is running now, as far as anybody knows. */
    newest: (device: DeviceId): Boot | undefined => inOrder([...read(device).values()]).at(-1),
    beginnings: (device: DeviceId, nowMs: number): Map<string, Beginning> =>
      reconstruct([...read(device).values()], nowMs),
    /** After a transaction that failed: what was remembered may not be on disk. */
    forget: (device: DeviceId): void => void cached.delete(device),
  }
}
