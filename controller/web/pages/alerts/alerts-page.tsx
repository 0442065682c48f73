import { formatQuantity } from '@espalier/shared/units'
import type {
  Alert,
  AlertDeliveries,
  AlertEvent,
  AlertEvents,
  AlertMetrics,
  AlertRules,
  Alerts,
} from '../../contracts/alerts.ts'
import { Ago } from '../../parts/ago.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Missing } from '../../parts/missing.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import { useApi } from '../../state/use-api.ts'
import { DeliveriesPanel } from './deliveries-panel.tsx'
import { RulesPanel } from './rules-panel.tsx'

export const KIND_OF_SEVERITY = { info: 'starting', warning: 'attention', critical: 'lost' } as const

/** A number in the unit of its metric, of a size that people read. */
function describeValue({ value, threshold, unit = '' }: Pick<Alert, 'value' | 'threshold' | 'unit'>): string {
  if (value === undefined) return ''
  const found = formatQuantity(value, unit)
  return threshold === undefined ? found : `${found} against ${formatQuantity(threshold, unit)}`
}

function Firing({ alerts }: { alerts: readonly Alert[] }) {
  if (alerts.length === 0) return <p class="muted">No rule is true of anything.</p>
  return (
    <section class="scroll-x" tabIndex={0} aria-label="What rules are true of">
      <table>
        <thead>
          <tr>
            <Heads titles={['State', 'Subject', 'Rule', 'Value', 'Since']} />
          </tr>
        </thead>
        <tbody>
          {alerts.map((alert) => (
            <tr key={`${alert.rule} ${alert.subject}`}>
              <td>
                <Status
                  kind={alert.state === 'pending' ? 'resting' : KIND_OF_SEVERITY[alert.severity]}
                  text={`${alert.severity}, ${alert.state}`}
                />
              </td>
              <th scope="row">{alert.subject}</th>
              <td>
                {alert.rule} <span class="mono muted">{alert.condition}</span>
              </td>
              <td>{describeValue(alert)}</td>
              <td>
                <Ago atMs={Date.parse(alert.since)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function Past({ events }: { events: readonly AlertEvent[] }) {
  if (events.length === 0) return <p class="muted">None yet.</p>
  return (
    <ul class="changes">
      {events.map((event) => (
        <li key={event.id}>
          <span class="row">
            <Status kind={event.event === 'resolved' ? 'ok' : KIND_OF_SEVERITY[event.severity]} text={event.event} />
            {event.subject}: {event.event === 'resolved' ? 'no longer ' : ''}
            {event.condition}
          </span>
          <span class="muted small">
            {event.rule}, {event.value === undefined ? '' : `${describeValue(event)}, `}
            <Ago atMs={Date.parse(event.at)} />
          </span>
        </li>
      ))}
    </ul>
  )
}

/** What is wrong by the operators' own rules, the rules, and whether those who should know were told. */
export function AlertsPage() {
  const alerts = useApi<Alerts>('alerts', { everyMs: 5000 })
  const rules = useApi<AlertRules>('alerts/rules')
  const events = useApi<AlertEvents>('alerts/events?limit=50', { everyMs: 10_000 })
  const deliveries = useApi<AlertDeliveries>('alerts/deliveries', { everyMs: 10_000 })
  const metrics = useApi<AlertMetrics>('alerts/metrics')
  return (
    <>
      <h1>Alerts</h1>
      <Missing failure={alerts.failure} what="rules for alerts" />
      {alerts.data === undefined ? null : (
        <>
          <Panel title="Now">
            <Firing alerts={alerts.data.alerts} />
          </Panel>
          <RulesPanel
            rules={rules.data?.rules ?? []}
            metrics={metrics.data?.metrics ?? []}
            onChange={() => {
              for (const each of [rules, alerts, events, deliveries]) each.reload()
            }}
          />
          <div class="columns">
            <Panel title="Before">
              <Past events={events.data?.events ?? []} />
            </Panel>
            <DeliveriesPanel deliveries={deliveries.data?.deliveries ?? []} />
          </div>
        </>
      )}
    </>
  )
}
