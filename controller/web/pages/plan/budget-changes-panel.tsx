import { Ago } from '../../parts/ago.tsx'
import { Panel } from '../../parts/panel.tsx'
import { describeEdits } from './describe-edits.ts'
import type { Budgets } from './plan-page.tsx'

/** Who set what when is in the audit; this is what budgets were. */
export function BudgetChangesPanel({ changes }: Pick<Budgets, 'changes'>) {
  return (
    <Panel title="Budgets changed">
      {changes.length === 0 ? (
        <p class="muted">Never.</p>
      ) : (
        <ul class="changes">
          {changes.slice(0, 12).map(({ at, key, before, after }, i) => (
            <li key={`${at} ${i}`}>
              <span>
                {describeEdits(new Map(before === undefined ? [] : [[key, before]]), new Map([[key, after]])).join(
                  '; ',
                ) || `${key} set again`}
              </span>
              <span class="muted small">
                <Ago atMs={Date.parse(at)} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}
