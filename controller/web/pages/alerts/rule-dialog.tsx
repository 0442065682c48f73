import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import type { AlertMetric, AlertRule, Severity } from '../../contracts/alerts.ts'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'

const EMPTY: AlertRule = {
  id: '',
  condition: '',
  selector: '',
  severity: 'warning',
  hysteresisShare: 0.05,
  notify: [],
  isEnabled: true,
}

const Field = ({ name, children }: { name: string; children: ComponentChildren }) => (
  // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child.
  <label class="field">
    <span>{name}</span>
    {children}
  </label>
)

/** Write a rule; the controller says what is wrong with one it cannot read. */
export function RuleDialog(props: {
  rule: AlertRule | undefined
  metrics: readonly AlertMetric[]
  onSave: (rule: AlertRule) => Promise<string | undefined>
  onClose: () => void
}) {
  const [rule, setRule] = useState(props.rule ?? EMPTY)
  const change = (changes: Partial<AlertRule>) => setRule((before) => ({ ...before, ...changes }))
  const metric = props.metrics.find(({ name }) => rule.condition.trim().startsWith(name))
  return (
    <ConfirmDialog
      title={props.rule === undefined ? 'New rule' : `Change the rule ${props.rule.id}`}
      action="Save"
      isReady={/^[a-z0-9][a-z0-9-]{0,62}$/.test(rule.id) && rule.condition.trim() !== ''}
      onConfirm={() => props.onSave(rule)}
      onClose={props.onClose}
    >
      {props.rule === undefined ? (
        <Field name="Name: small letters, digits and -">
          <input value={rule.id} required onInput={(event) => change({ id: event.currentTarget.value })} />
        </Field>
      ) : null}
      <Field name='Condition, e.g. "device.powerW > 12 for 60s" or "site.rateBps > 0.95 budget"'>
        <input
          class="mono"
          list="alert-metrics"
          value={rule.condition}
          required
          onInput={(event) => change({ condition: event.currentTarget.value })}
        />
      </Field>
      <datalist id="alert-metrics">
        {props.metrics.map(({ name, sentence }) => (
          <option key={name} value={name}>
            {sentence}
          </option>
        ))}
      </datalist>
      {metric === undefined ? null : (
        <p class="small muted">
          {metric.sentence}{' '}
          {metric.unit === undefined
            ? 'True or not.'
            : `In ${metric.unit}${metric.hasBudget ? ', or a share of its budget' : ''}.`}
        </p>
      )}
      <Field name="Devices, by label; empty: all">
        <input
          class="mono"
          value={rule.selector}
          placeholder="site=local,kind in (cam,kiosk)"
          onInput={(event) => change({ selector: event.currentTarget.value })}
        />
      </Field>
      <Field name="Severity">
        <select value={rule.severity} onChange={(event) => change({ severity: event.currentTarget.value as Severity })}>
          {(['info', 'warning', 'critical'] as const).map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
      </Field>
      <Field name="Tell, separated by spaces: https:// for a webhook, mailto: for e-mail">
        <input
          class="mono"
          value={rule.notify.join(' ')}
          onChange={(event) => change({ notify: event.currentTarget.value.split(/\s+/).filter((each) => each !== '') })}
        />
      </Field>
    </ConfirmDialog>
  )
}
