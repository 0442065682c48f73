import type { Clock } from '@espalier/shared/clock'
import { describeError, StoreError } from '@espalier/shared/errors'
import type { Logger } from 'pino'
import type { Plan } from '../plan/plan-fleet.ts'
import type { Store } from '../store/open-store.ts'
import { FINE_STEP_MS, type SeriesPoint } from '../store/series.ts'
import { type Group, groupRows, summarise } from './group-rows.ts'
import type { Overview } from './overview.ts'

function pointOf(group: Group, gap: number | undefined, budget: number | undefined): Omit<SeriesPoint, 'atMs'> {
  const { powerW, rateBps, gramsPerHour, framesPerSecond, devices, byHealth } = group
  const troubled = (byHealth.attention ?? 0) + (byHealth.lost ?? 0)
  return { powerW, rateBps, gramsPerHour, framesPerSecond, gap, budget, devices, troubled }
}

/**
 * Write what the fleet and its sites do, every few seconds, so that a page can show how it came.
 *
 * @returns A function that ends it.
 */
export function recordSeries(options: {
  readonly overview: Overview
  readonly store: Pick<Store, 'series' | 'budgets'>
  readonly latestPlan: () => Plan | undefined
  readonly clock: Clock
  readonly log: Logger
}): () => void {
  const { overview, store, latestPlan, clock, log } = options
  const record = (): void => {
    const rows = overview.rows()
    if (rows.length === 0) return
    try {
      const budgets = store.budgets.list()
      const points = new Map([
        ['fleet', pointOf(summarise('fleet', rows), latestPlan()?.gap, budgets.get('fleet')?.powerW)],
      ])
      for (const group of groupRows(rows, ({ site }) => site))
        points.set(`site:${group.key}`, pointOf(group, undefined, budgets.get(`site:${group.key}`)?.rateBps))
      store.series.add(clock.wallMs(), points)
    } catch (error) {
      // A point that is missing is a gap in a picture; nothing waits for it.
      if (!(error instanceof StoreError)) throw error
      log.warn({ reason: describeError(error) }, 'series not recorded')
    }
  }
  const timer = setInterval(record, FINE_STEP_MS)
  timer.unref()
  return () => clearInterval(timer)
}
