import { z } from 'zod'
import { type Database, inTransaction } from './database.ts'

/** What the fleet or one site did, as a mean over a step. */
export interface SeriesPoint {
  readonly atMs: number
  readonly powerW: number
  readonly rateBps: number
  readonly gramsPerHour: number
  readonly framesPerSecond: number
  /** Of the plan, where there is one. */
  readonly gap?: number | undefined
  /** In force then, where there was one: power of the fleet, rate of a site. */
  readonly budget?: number | undefined
  readonly devices: number
  /** Devices that need attention or are lost. */
  readonly troubled: number
}

/** Fine points are kept for two hours, coarse ones for thirty days. */
const FINE_S = 10
export const FINE_STEP_MS = FINE_S * 1000
const COARSE_S = 300
const KEPT_MS = { [FINE_S]: 2 * 3_600_000, [COARSE_S]: 30 * 86_400_000 }

const COLUMNS = 'power_w, rate_bps, grams_per_hour, frames_per_second, gap, budget, devices, troubled'
const MEANS = COLUMNS.split(', ')
  .map((column) => `avg(${column}) AS ${column}`)
  .join(', ')

const rowSchema = z.object({
  at_ms: z.number(),
  power_w: z.number(),
  rate_bps: z.number(),
  grams_per_hour: z.number(),
  frames_per_second: z.number(),
  gap: z.number().nullable(),
  budget: z.number().nullable(),
  devices: z.number(),
  troubled: z.number(),
})

export type SeriesTable = ReturnType<typeof seriesTable>

/** Time series of the fleet (`fleet`) and of sites (`site:<id>`), thinned as they age. */
export function seriesTable(db: Database) {
  const put = db.prepare('INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const coarsen = db.prepare(
    `INSERT OR REPLACE INTO series SELECT scope, ${COARSE_S}, ?, ${MEANS} FROM series
     WHERE step_s = ${FINE_S} AND at_ms > ? AND at_ms <= ? GROUP BY scope`,
  )
  const prune = db.prepare('DELETE FROM series WHERE step_s = ? AND at_ms < ?')
  const between = db.prepare(
    `SELECT max(at_ms) AS at_ms, ${MEANS} FROM series WHERE scope = ? AND step_s = ? AND at_ms >= ? AND at_ms <= ?
     GROUP BY CAST(at_ms / ? AS INTEGER) ORDER BY at_ms`,
  )
  let coarsenedMs: number | undefined

  return {
    /** Add a fine point of each scope; every five minutes the means of what came since become coarse points. */
    add: inTransaction(db, (atMs: number, points: ReadonlyMap<string, Omit<SeriesPoint, 'atMs'>>): void => {
      const at = Math.round(atMs)
      for (const [scope, p] of points)
        put.run(
          scope,
          FINE_S,
          at,
          p.powerW,
          p.rateBps,
          p.gramsPerHour,
          p.framesPerSecond,
          p.gap ?? null,
          p.budget ?? null,
          p.devices,
          p.troubled,
        )
      coarsenedMs ??= at
      if (at - coarsenedMs < COARSE_S * 1000) return
      coarsen.run(at, coarsenedMs, at)
      coarsenedMs = at
      for (const [step, keptMs] of Object.entries(KEPT_MS)) prune.run(Number(step), at - keptMs)
    }),
    /** About `points` means between two moments, oldest first. */
    between(scope: string, fromMs: number, toMs: number, points: number): SeriesPoint[] {
      const isFine = toMs - fromMs <= KEPT_MS[FINE_S]!
      const step = isFine ? FINE_S : COARSE_S
      const bucketMs = Math.max(step * 1000, Math.ceil((toMs - fromMs) / points))
      return z
        .array(rowSchema)
        .parse(between.all(scope, step, Math.round(fromMs), Math.round(toMs), bucketMs))
        .map((row) => ({
          atMs: row.at_ms,
          powerW: row.power_w,
          rateBps: row.rate_bps,
          gramsPerHour: row.grams_per_hour,
          framesPerSecond: row.frames_per_second,
          ...(row.gap === null ? {} : { gap: row.gap }),
          ...(row.budget === null ? {} : { budget: row.budget }),
          devices: row.devices,
          troubled: row.troubled,
        }))
    },
  }
}
