import type { DeviceEvents } from '../../contracts/device.ts'
import { Ago } from '../../parts/ago.tsx'
import { Evidence } from '../../parts/evidence.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import type { ApiFailure } from '../../state/api.ts'

const PLACED = { contact: 'by contact', ntp: 'by its own clock', between: 'between its neighbours' } as const

/** What the device told of, latest arrival first, with how well it is known when it happened. */
export function EventsPanel({
  events,
  failure,
}: {
  events: DeviceEvents | undefined
  failure: ApiFailure | undefined
}) {
  return (
    <Panel title="Log of events">
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      {events === undefined ? null : events.length === 0 ? (
        <p class="muted">It has told of none.</p>
      ) : (
        <section class="scroll-y" tabIndex={0} aria-label="Events, latest first">
          <ul class="changes">
            {events.map((event, i) => (
              <li key={`${event.at} ${event.kind} ${i}`}>
                <span>
                  <strong>{event.kind}</strong>
                  {event.slot === undefined ? '' : ` ${event.slot}`}: {event.message}
                </span>
                <span class="muted small">
                  <Ago atMs={Date.parse(event.at)} />, placed {PLACED[event.placedBy]}
                  {event.uncertaintyS === undefined
                    ? ', nobody knows how exactly'
                    : ` to ${event.uncertaintyS < 10 ? event.uncertaintyS.toFixed(1) : event.uncertaintyS.toFixed(0)} s`}
                </span>
                {event.evidence === undefined ? null : <Evidence title="Evidence" values={event.evidence} />}
              </li>
            ))}
          </ul>
        </section>
      )}
    </Panel>
  )
}
