import { z } from 'zod'
import type { DeviceRow } from './device-row.ts'
import { type Health, healthSchema } from './judge-health.ts'

/** What devices can be put together by; a label of theirs is `label:<name>`. */
export const groupingSchema = z.string().regex(/^(site|deviceClass|family|variant|label:[^\s]{1,63})$/)

export const healthCountsSchema = z.record(healthSchema, z.int())

export const groupSchema = z.object({
  key: z.string(),
  devices: z.int(),
  byHealth: healthCountsSchema,
  rateBps: z.number(),
  powerW: z.number(),
  gramsPerHour: z.number(),
  framesPerSecond: z.number(),
  /** Joules of all frames over their number; absent without frames. */
  joulesPerFrame: z.number().optional(),
  /** Mean over devices that measured it. */
  psnrDb: z.number().optional(),
})
export type Group = z.infer<typeof groupSchema>

const noneByHealth = (): Record<Health, number> => ({ ok: 0, starting: 0, resting: 0, attention: 0, lost: 0 })

/** Sums over rows under one name. */
export function summarise(key: string, rows: readonly DeviceRow[]): Group {
  const byHealth = noneByHealth()
  let [rateBps, powerW, gramsPerHour, framesPerSecond, frameWatts, psnrSum, psnrCount] = [0, 0, 0, 0, 0, 0, 0]
  for (const row of rows) {
    byHealth[row.health]++
    rateBps += row.rateBps ?? 0
    powerW += row.powerW ?? 0
    gramsPerHour += row.gramsPerHour ?? 0
    framesPerSecond += row.framesPerSecond ?? 0
    frameWatts += (row.joulesPerFrame ?? 0) * (row.framesPerSecond ?? 0)
    if (row.psnrDb !== undefined) {
      psnrSum += row.psnrDb
      psnrCount++
    }
  }
  return {
    key,
    devices: rows.length,
    byHealth,
    rateBps,
    powerW,
    gramsPerHour,
    framesPerSecond,
    ...(framesPerSecond > 0 ? { joulesPerFrame: frameWatts / framesPerSecond } : {}),
    ...(psnrCount > 0 ? { psnrDb: psnrSum / psnrCount } : {}),
  }
}

/** @param keyOf Undefined: not known, shown as "unknown". */
export function groupRows(rows: readonly DeviceRow[], keyOf: (row: DeviceRow) => string | undefined): Group[] {
  const groups = new Map<string, DeviceRow[]>()
  for (const row of rows) {
    const key = keyOf(row) ?? 'unknown'
    const members = groups.get(key)
    if (members === undefined) groups.set(key, [row])
    else members.push(row)
  }
  return [...groups]
    .map(([key, members]) => summarise(key, members))
    .sort((a, b) => b.devices - a.devices || (a.key < b.key ? -1 : 1))
}
