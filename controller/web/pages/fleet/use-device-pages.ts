import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import type { DevicePage } from '../../../api/routes/fleet-schemas.ts'
import type { DeviceRow } from '../../../overview/device-row.ts'
import { type ApiFailure, callApi, withQuery } from '../../state/api.ts'
import { listen, type RowChange, watch } from '../../state/live.ts'

const PAGE = 100
/** Pages that are out of sight are forgotten beyond this, whatever the length of the list. */
const KEPT_PAGES = 8
/** What is sorted by a measurement changes its order by and by. */
const REFRESH_MS = 5000

export interface ListQuery {
  readonly search?: string | undefined
  readonly health?: string | undefined
  readonly by?: string | undefined
  readonly key?: string | undefined
  readonly sort: string
  readonly order: string
}

function merge(row: DeviceRow, change: RowChange): DeviceRow {
  const merged = { ...row, ...change } as Record<string, unknown>
  for (const [field, value] of Object.entries(change)) if (value === null) delete merged[field]
  return merged as unknown as DeviceRow
}

/** The rows of a list of any length, read in pages as they come into sight, and kept up to date while they are. */
export function useDevicePages(query: ListQuery) {
  const [total, setTotal] = useState<number>()
  const [failure, setFailure] = useState<ApiFailure>()
  const [, redraw] = useState(0)
  const pages = useRef(new Map<number, readonly DeviceRow[]>())
  const loading = useRef(new Set<number>())
  const seen = useRef<{ first: number; end: number }>({ first: 0, end: 30 })
  const running = useRef(new AbortController())
  const stopWatching = useRef<() => void>(undefined)
  const path = withQuery('fleet/devices', { ...query })

  const watchSeen = useCallback(() => {
    const { first, end } = seen.current
    const ids: string[] = []
    for (let i = first; i < end; i++) {
      const id = pages.current.get(Math.floor(i / PAGE))?.[i % PAGE]?.id
      if (id !== undefined) ids.push(id)
    }
    const stop = watch(ids)
    stopWatching.current?.()
    stopWatching.current = stop
  }, [])

  const load = useCallback(
    async (page: number, isAgain: boolean) => {
      if (loading.current.has(page) || (!isAgain && pages.current.has(page))) return
      loading.current.add(page)
      const { signal } = running.current
      try {
        const separator = path.includes('?') ? '&' : '?'
        const answer = await callApi<DevicePage>(`${path}${separator}offset=${page * PAGE}&limit=${PAGE}`, { signal })
        pages.current.set(page, answer.rows)
        const middle = Math.floor(seen.current.first / PAGE)
        for (const known of [...pages.current.keys()])
          if (Math.abs(known - middle) > KEPT_PAGES / 2) pages.current.delete(known)
        setTotal(answer.total)
        setFailure(undefined)
        watchSeen()
        redraw((n) => n + 1)
      } catch (error) {
        if (!signal.aborted) setFailure(error as ApiFailure)
      } finally {
        if (!signal.aborted) loading.current.delete(page)
      }
    },
    [path, watchSeen],
  )

  const loadSeen = useCallback(
    (isAgain: boolean) => {
      const { first, end } = seen.current
      for (let page = Math.floor(first / PAGE); page * PAGE < Math.max(end, first + 1); page++) void load(page, isAgain)
    },
    [load],
  )

  useEffect(() => {
    // Another question: what is known answers the last one.
    running.current = new AbortController()
    loading.current.clear()
    pages.current.clear()
    seen.current = { first: 0, end: 30 }
    loadSeen(true)
    const timer = setInterval(() => {
      if (!document.hidden) loadSeen(true)
    }, REFRESH_MS)
    return () => {
      clearInterval(timer)
      running.current.abort()
    }
  }, [loadSeen])

  useEffect(() => {
    const stop = listen('rows', (changes) => {
      const byId = new Map(changes.map((change) => [change.id, change]))
      for (const [page, rows] of pages.current)
        if (rows.some(({ id }) => byId.has(id)))
          pages.current.set(
            page,
            rows.map((row) => (byId.has(row.id) ? merge(row, byId.get(row.id)!) : row)),
          )
      redraw((n) => n + 1)
    })
    return () => {
      stop()
      stopWatching.current?.()
    }
  }, [])

  const onRange = useCallback(
    (first: number, end: number) => {
      seen.current = { first, end }
      loadSeen(false)
      watchSeen()
    },
    [loadSeen, watchSeen],
  )
  const itemAt = (index: number): DeviceRow | undefined => pages.current.get(Math.floor(index / PAGE))?.[index % PAGE]
  return { total, failure, itemAt, onRange }
}
