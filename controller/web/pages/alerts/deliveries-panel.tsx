import type { AlertDelivery } from '../../contracts/alerts.ts'
import { Ago } from '../../parts/ago.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'

const KINDS = { waiting: 'starting', delivered: 'ok', failed: 'lost' } as const

/** Whether webhooks and addresses were reached. */
export function DeliveriesPanel({ deliveries }: { deliveries: readonly AlertDelivery[] }) {
  return (
    <Panel title="Deliveries">
      {deliveries.length === 0 ? (
        <p class="muted">None: no rule names a webhook or an address, or none fired.</p>
      ) : (
        <ul class="changes">
          {deliveries.map(({ id, to, state, attempts, createdAt, reason, events }) => (
            <li key={id}>
              <span class="row">
                <Status kind={KINDS[state]} text={state} />
                <span class="mono">{to}</span>
              </span>
              <span class="muted small">
                {events} {events === 1 ? 'event' : 'events'}, {attempts} {attempts === 1 ? 'attempt' : 'attempts'},
                begun <Ago atMs={Date.parse(createdAt)} />
                {reason === undefined ? '' : `: ${reason}`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}
