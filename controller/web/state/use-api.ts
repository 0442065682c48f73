import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { type ApiFailure, callApi } from './api.ts'

export interface Loaded<Answer> {
  /** The last good answer; kept while the next is on its way, and over failures. */
  readonly data: Answer | undefined
  readonly failure: ApiFailure | undefined
  reload(): void
}

/**
 * Read from the API while a component is shown.
 *
 * @param path Undefined: nothing yet.
 * @param options.everyMs Read again this often, while the page is visible.
 */
export function useApi<Answer>(path: string | undefined, options: { everyMs?: number } = {}): Loaded<Answer> {
  const [state, setState] = useState<{ path?: string | undefined; data?: Answer; failure?: ApiFailure | undefined }>({})
  const running = useRef<AbortController>(undefined)
  const { everyMs } = options

  const reload = useCallback(() => {
    if (path === undefined) return
    running.current?.abort()
    const controller = new AbortController()
    running.current = controller
    callApi<Answer>(path, { signal: controller.signal }).then(
      (data) => setState({ path, data }),
      (failure: ApiFailure) => {
        if (!controller.signal.aborted)
          setState((before) => (before.path === path ? { ...before, failure } : { path, failure }))
      },
    )
  }, [path])

  useEffect(() => {
    reload()
    const timer =
      everyMs === undefined
        ? undefined
        : setInterval(() => {
            if (!document.hidden) reload()
          }, everyMs)
    return () => {
      clearInterval(timer)
      running.current?.abort()
    }
  }, [reload, everyMs])

  const isCurrent = state.path === path
  return { data: isCurrent ? state.data : undefined, failure: isCurrent ? state.failure : undefined, reload }
}
