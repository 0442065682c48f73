import { z } from 'zod'
import type { DeviceRow } from './device-row.ts'
import { groupingSchema } from './group-rows.ts'
import { healthSchema } from './judge-health.ts'

const SORTS = [
  'id',
  'site',
  'deviceClass',
  'health',
  'configurationId',
  'rateBps',
  'powerW',
  'joulesPerFrame',
  'latencyP95Ms',
  'psnrDb',
  'celsius',
  'lastSeenMs',
] as const

export const pageQuerySchema = z.object({
  /** Found in id, site, class, configuration or reason. */
  search: z.string().max(200).optional(),
  health: healthSchema.optional(),
  /** With `key`: only devices of this group. */
  by: groupingSchema.optional(),
  key: z.string().max(300).optional(),
  sort: z.enum(SORTS).default('id'),
  order: z.enum(['up', 'down']).default('up'),
  offset: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(200).default(100),
})
export type PageQuery = z.infer<typeof pageQuerySchema>

/** Worst first is what people look for. */
const HEALTH_ORDER = ['lost', 'attention', 'starting', 'resting', 'ok']

function compare(a: DeviceRow, b: DeviceRow, sort: PageQuery['sort']): number {
  if (sort === 'health') return HEALTH_ORDER.indexOf(a.health) - HEALTH_ORDER.indexOf(b.health)
  const [x, y] = [a[sort], b[sort]]
  if (x === y) return 0
  return x! < y! ? -1 : 1
}

const matches = (row: DeviceRow, text: string): boolean =>
  [row.id, row.site, row.deviceClass, row.configurationId, row.reason].some((field) =>
    field?.toLowerCase().includes(text),
  )

/** The rows that a query asks for, and how many it would in all. What is not known comes last in either order. */
export function pageOfRows(
  rows: readonly DeviceRow[],
  query: PageQuery,
  keyOf: (row: DeviceRow) => string | undefined,
): { total: number; rows: DeviceRow[] } {
  const text = query.search?.trim().toLowerCase() ?? ''
  const found = rows.filter(
    (row) =>
      (query.health === undefined || row.health === query.health) &&
      (query.by === undefined || query.key === undefined || (keyOf(row) ?? 'unknown') === query.key) &&
      (text === '' || matches(row, text)),
  )
  const sign = query.order === 'up' ? 1 : -1
  const [known, unknown] = [
    found.filter((row) => row[query.sort] !== undefined),
    found.filter((row) => row[query.sort] === undefined),
  ]
  known.sort((a, b) => sign * compare(a, b, query.sort) || (a.id < b.id ? -1 : 1))
  const sorted = [...known, ...unknown]
  return { total: sorted.length, rows: sorted.slice(query.offset, query.offset + query.limit) }
}
