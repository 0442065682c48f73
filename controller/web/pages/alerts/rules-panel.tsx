import { useState } from 'preact/hooks'
import type { AlertMetric, AlertRule } from '../../contracts/alerts.ts'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import { type ApiFailure, callApi } from '../../state/api.ts'
import { RuleDialog } from './rule-dialog.tsx'

/** Rules, to be added, changed, switched off and removed. */
export function RulesPanel(props: {
  rules: readonly AlertRule[]
  metrics: readonly AlertMetric[]
  onChange: () => void
}) {
  const [editing, setEditing] = useState<AlertRule | 'new'>()
  const [removing, setRemoving] = useState<AlertRule>()
  const [failure, setFailure] = useState<string>()
  /** @returns Why it was refused. */
  const call = async (rule: string, method: string, body?: unknown): Promise<string | undefined> => {
    const refusal = await callApi(`alerts/rules/${encodeURIComponent(rule)}`, { method, body }).then(
      () => undefined,
      ({ message }: ApiFailure) => message,
    )
    props.onChange()
    return refusal
  }
  const save = ({ id, ...body }: AlertRule) => call(id, 'PUT', body)
  return (
    <Panel
      title="Rules"
      aside={
        <button type="button" onClick={() => setEditing('new')}>
          New rule…
        </button>
      }
    >
      {failure === undefined ? null : <Note kind="lost">{failure}</Note>}
      {props.rules.length === 0 ? (
        <p class="muted">None. A rule says e.g. "device.offline for 5m".</p>
      ) : (
        <section class="scroll-x wide" tabIndex={0} aria-label="Rules">
          <table>
            <thead>
              <tr>
                {['Rule', 'Condition', 'Devices', 'Severity', 'Tells', ''].map((title) => (
                  <th key={title} scope="col">
                    {title === '' ? <span class="hidden-visually">Actions</span> : title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {props.rules.map((rule) => (
                <tr key={rule.id}>
                  <th scope="row">
                    {rule.id} {rule.isEnabled ? null : <Status kind="resting" text="off" />}
                  </th>
                  <td class="mono">{rule.condition}</td>
                  <td>{rule.selector === '' ? 'all' : <span class="mono">{rule.selector}</span>}</td>
                  <td>{rule.severity}</td>
                  <td class="mono small">{rule.notify.length === 0 ? 'nobody' : rule.notify.join(', ')}</td>
                  <td>
                    <span class="row">
                      <button
                        type="button"
                        onClick={() => void save({ ...rule, isEnabled: !rule.isEnabled }).then(setFailure)}
                        aria-label={`Switch ${rule.isEnabled ? 'off' : 'on'} ${rule.id}`}
                      >
                        {rule.isEnabled ? 'Switch off' : 'Switch on'}
                      </button>
                      <button type="button" onClick={() => setEditing(rule)} aria-label={`Change ${rule.id}`}>
                        Change…
                      </button>
                      <button
                        type="button"
                        class="danger"
                        onClick={() => setRemoving(rule)}
                        aria-label={`Remove ${rule.id}`}
                      >
                        Remove…
                      </button>
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      {editing === undefined ? null : (
        <RuleDialog
          rule={editing === 'new' ? undefined : editing}
          metrics={props.metrics}
          onSave={save}
          onClose={() => setEditing(undefined)}
        />
      )}
      {removing === undefined ? null : (
        <ConfirmDialog
          title={`Remove the rule ${removing.id}?`}
          action="Remove"
          isDanger
          onConfirm={() => call(removing.id, 'DELETE')}
          onClose={() => setRemoving(undefined)}
        >
          <p class="mono">{removing.condition}</p>
        </ConfirmDialog>
      )}
    </Panel>
  )
}
