import type { AuditEntry, AuditPageAnswer } from '../../contracts/audit.ts'
import { Ago } from '../../parts/ago.tsx'
import { Difference } from '../../parts/difference.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Missing } from '../../parts/missing.tsx'
import { Panel } from '../../parts/panel.tsx'
import { withQuery } from '../../state/api.ts'
import { route, setQuery } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'

const KINDS = Object.keys({
  budget: true,
  rollout: true,
  command: true,
  'alert-rule': true,
  family: true,
} satisfies Record<AuditEntry['kind'], true>)

function Entries({ entries }: { entries: readonly AuditEntry[] }) {
  return (
    <section class="scroll-x wide" tabIndex={0} aria-label="Entries, latest first">
      <table>
        <thead>
          <tr>
            <Heads titles={['When', 'Who', 'What', 'Subject', 'What changed']} />
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={entry.id}>
              <td>
                <Ago atMs={Date.parse(entry.at)} />
              </td>
              <td>
                {entry.actor}
                {entry.address === undefined ? null : <span class="muted small"> from {entry.address}</span>}
              </td>
              <td>
                {entry.kind}: {entry.action}
              </td>
              <td class="mono">{entry.subject}</td>
              <td>
                <Difference before={entry.before} after={entry.after} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

/** Who did what: budgets, rollouts, commands, rules and families, latest first. */
export function AuditPage() {
  const { kind, subject, actor, before } = route.value.query
  const { data, failure } = useApi<AuditPageAnswer>(withQuery('audit', { kind, subject, actor, before, limit: 100 }), {
    everyMs: 10_000,
  })
  const entries = data?.entries ?? []
  return (
    <>
      <h1>Audit</h1>
      <Missing failure={failure} what="audit log" />
      <Panel
        title="Who did what"
        aside={
          <>
            <label class="row small">
              <span class="muted">Kind</span>
              <select
                value={kind ?? ''}
                onChange={(event) => setQuery({ kind: event.currentTarget.value, before: undefined })}
              >
                <option value="">all</option>
                {KINDS.map((each) => (
                  <option key={each} value={each}>
                    {each}
                  </option>
                ))}
              </select>
            </label>
            {(['subject', 'actor'] as const).map((field) => (
              <label key={field} class="row small">
                <span class="muted">{field === 'subject' ? 'Subject' : 'Who'}</span>
                <input
                  type="search"
                  value={route.value.query[field] ?? ''}
                  onChange={(event) => setQuery({ [field]: event.currentTarget.value, before: undefined })}
                />
              </label>
            ))}
          </>
        }
      >
        {data === undefined ? null : entries.length === 0 ? (
          <p class="muted">Nothing found.</p>
        ) : (
          <Entries entries={entries} />
        )}
        <div class="row">
          {before === undefined ? null : (
            <button type="button" onClick={() => setQuery({ before: undefined })}>
              Latest
            </button>
          )}
          {data?.next === undefined ? null : (
            <button type="button" onClick={() => setQuery({ before: String(data.next) })}>
              Older
            </button>
          )}
        </div>
      </Panel>
    </>
  )
}
