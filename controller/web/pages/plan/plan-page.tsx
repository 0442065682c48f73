import { useState } from 'preact/hooks'
import type { FleetMap, FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'
import { Note } from '../../parts/note.tsx'
import { type ApiFailure, callApi } from '../../state/api.ts'
import { summary } from '../../state/live.ts'
import { useApi } from '../../state/use-api.ts'
import { AlarmsPanel } from './alarms-panel.tsx'
import { BudgetChangesPanel } from './budget-changes-panel.tsx'
import type { BudgetBody } from './budget-fields.ts'
import { isSameBudget } from './budget-fields.ts'
import { BudgetsPanel } from './budgets-panel.tsx'
import { describeEdits } from './describe-edits.ts'
import { PlanFigures } from './plan-figures.tsx'
import { useWhatIf } from './use-what-if.ts'
import { WhatIfPanel } from './what-if-panel.tsx'

export interface Budgets {
  readonly budgets: readonly ({ readonly key: string } & BudgetBody)[]
  readonly changes: readonly {
    readonly at: string
    readonly key: string
    readonly before?: BudgetBody
    readonly after?: BudgetBody
  }[]
}

/** Budgets to be edited, what each device would do under them, and then to be put in force. */
export function PlanPage() {
  const budgets = useApi<Budgets>('budgets', { everyMs: 5000 })
  const map = useApi<FleetMap>('fleet/map?by=site', { everyMs: 5000 })
  const first = useApi<FleetSummary>('fleet/summary')
  const [edits, setEdits] = useState<ReadonlyMap<string, BudgetBody | undefined>>(new Map())
  const [isAsking, setAsking] = useState(false)
  const [outcome, setOutcome] = useState<{ kind: 'ok' | 'lost'; text: string }>()
  const present = new Map((budgets.data?.budgets ?? []).map(({ key, ...body }) => [key, body as BudgetBody]))
  const changed = new Map([...edits].filter(([key, body]) => !isSameBudget(present.get(key), body)))
  const whatIf = useWhatIf(changed)
  const shown = summary.value ?? first.data

  const edit = (key: string, body: BudgetBody | undefined): void => {
    setOutcome(undefined)
    setEdits((before) => new Map([...before, [key, body]]))
  }
  const commit = async (): Promise<void> => {
    try {
      for (const [key, body] of changed)
        await callApi(
          `budgets/${encodeURIComponent(key)}`,
          body === undefined ? { method: 'DELETE' } : { method: 'PUT', body },
        )
      setEdits(new Map())
      setOutcome({
        kind: 'ok',
        text: 'In force. Devices are told what changes for them; the fleet page shows it as they answer.',
      })
    } catch (failure) {
      setOutcome({ kind: 'lost', text: (failure as ApiFailure).message })
    }
    budgets.reload()
  }

  return (
    <>
      <div class="page-head">
        <h1>Plan</h1>
        <span class="muted" role="status">
          {changed.size === 0
            ? 'nothing edited'
            : `${changed.size} ${changed.size === 1 ? 'budget' : 'budgets'} edited, not in force`}
        </span>
        <div class="aside">
          <button type="button" disabled={changed.size === 0} onClick={() => setEdits(new Map())}>
            Discard edits
          </button>
          <button type="button" class="primary" disabled={changed.size === 0} onClick={() => setAsking(true)}>
            Put in force…
          </button>
        </div>
      </div>
      {outcome === undefined ? null : <Note kind={outcome.kind}>{outcome.text}</Note>}
      {budgets.failure === undefined ? null : <Note kind="lost">{budgets.failure.message}</Note>}
      {shown === undefined ? null : <PlanFigures summary={shown} />}
      <div class="columns wide-second">
        <BudgetsPanel present={present} edits={edits} sites={map.data?.groups ?? []} summary={shown} onEdit={edit} />
        <WhatIfPanel whatIf={whatIf} isEdited={changed.size > 0} />
      </div>
      <div class="columns">
        <BudgetChangesPanel changes={budgets.data?.changes ?? []} />
        {shown === undefined ? null : <AlarmsPanel summary={shown} />}
      </div>
      {isAsking ? (
        <ConfirmDialog
          title="Put these budgets in force?"
          action="Put in force"
          onConfirm={() => void commit()}
          onClose={() => setAsking(false)}
        >
          <ul>
            {describeEdits(present, changed).map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
          {whatIf.data === undefined ? null : (
            <p>
              {whatIf.data.slots.changed} of {whatIf.data.slots.total} slots would change what they run.
            </p>
          )}
        </ConfirmDialog>
      ) : null}
    </>
  )
}
