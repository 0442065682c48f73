import { useEffect, useState } from 'preact/hooks'
import type { WhatIf } from '../../../api/routes/what-if.ts'
import { type ApiFailure, callApi } from '../../state/api.ts'
import type { BudgetBody } from './budget-fields.ts'

/** Nobody types a number in less. */
const WAIT_MS = 350
const LISTED = 1000

export interface WhatIfState {
  readonly data: WhatIf | undefined
  readonly failure: ApiFailure | undefined
  readonly isRunning: boolean
}

/** What the planner would do under the edits, asked again whenever they change. */
export function useWhatIf(edits: ReadonlyMap<string, BudgetBody | undefined>): WhatIfState {
  const [state, setState] = useState<WhatIfState>({ data: undefined, failure: undefined, isRunning: false })
  const budgets = [...edits].map(([key, body]) => ({ key, ...body }))
  const question = JSON.stringify(budgets)
  useEffect(() => {
    if (question === '[]') {
      setState({ data: undefined, failure: undefined, isRunning: false })
      return
    }
    const controller = new AbortController()
    setState((before) => ({ ...before, isRunning: true }))
    const timer = setTimeout(() => {
      callApi<WhatIf>('plan/what-if', {
        method: 'POST',
        body: { budgets: JSON.parse(question), limit: LISTED },
        signal: controller.signal,
      }).then(
        (data) => setState({ data, failure: undefined, isRunning: false }),
        (failure: ApiFailure) => {
          if (!controller.signal.aborted) setState({ data: undefined, failure, isRunning: false })
        },
      )
    }, WAIT_MS)
    return () => {
      clearTimeout(timer)
      controller.abort()
    }
  }, [question])
  return state
}
