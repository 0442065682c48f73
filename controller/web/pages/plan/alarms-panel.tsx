import type { FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'

/** What the plan cannot keep, and why. */
export function AlarmsPanel({ summary: { alarms, alarmCount } }: { summary: FleetSummary }) {
  return (
    <Panel title="Alarms of the plan">
      {alarms.length === 0 ? (
        <p class="muted">None: every budget, deadline and floor is kept.</p>
      ) : (
        <div class="stack">
          {alarms.map(({ kind, subject, message }) => (
            <Note key={`${kind} ${subject}`} kind="attention">
              {message}
            </Note>
          ))}
          {alarmCount > alarms.length ? <p class="muted small">{alarmCount} in all.</p> : null}
        </div>
      )}
    </Panel>
  )
}
