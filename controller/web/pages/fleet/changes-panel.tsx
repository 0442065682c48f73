import { useEffect, useState } from 'preact/hooks'
import type { FleetChanges } from '../../../api/routes/fleet-schemas.ts'
import { Ago } from '../../parts/ago.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Segmented } from '../../parts/segmented.tsx'
import * as format from '../../state/format.ts'
import { linkTo } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'

const KINDS: Readonly<Record<string, string>> = {
  configuration: 'configuration',
  state: 'health',
  budget: 'budget',
  event: 'event',
  alarm: 'alarm',
}

function Causes({ causes }: Pick<FleetChanges, 'causes'>) {
  return (
    <ul class="changes">
      {causes.slice(0, 40).map((cause) => (
        <li key={`${cause.kind} ${cause.cause}`}>
          <strong>{cause.cause}</strong>
          <span class="muted small">
            {KINDS[cause.kind]}: {format.count(cause.changes)} {cause.changes === 1 ? 'change' : 'changes'}
            {cause.devices > 0
              ? ` on ${format.count(cause.devices)} ${cause.devices === 1 ? 'device' : 'devices'}`
              : ''}
            {cause.psnrDb === undefined ? '' : `, ${format.signed(format.decibels)(cause.psnrDb)} each`}, last{' '}
            <Ago atMs={cause.lastMs} />
          </span>
        </li>
      ))}
    </ul>
  )
}

function Latest({ changes }: Pick<FleetChanges, 'changes'>) {
  return (
    <ul class="changes">
      {changes.map((change, i) => (
        <li key={`${change.atMs} ${change.device} ${i}`}>
          <span>
            {change.device === undefined ? null : (
              <a href={linkTo(['device', change.device])}>
                {change.device}
                {change.slot === undefined ? '' : `/${change.slot}`}
              </a>
            )}{' '}
            {change.what}
          </span>
          <span class="muted small">
            {change.why}, <Ago atMs={change.atMs} />
          </span>
        </li>
      ))}
    </ul>
  )
}

/** What changed in the last hour and why: by cause, or one by one. */
export function ChangesPanel({ total }: { total: number }) {
  const [view, setView] = useState<'causes' | 'latest'>('causes')
  const { data, failure, reload } = useApi<FleetChanges>('fleet/changes?seconds=3600&limit=60')
  useEffect(reload, [total, reload])
  return (
    <Panel
      title="Changed in the last hour, and why"
      aside={
        <Segmented
          label="View"
          value={view}
          choices={[
            { value: 'causes', text: 'By cause' },
            { value: 'latest', text: 'Latest' },
          ]}
          onChange={setView}
        />
      }
    >
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      {data === undefined ? null : data.total === 0 ? (
        <p class="muted">Nothing changed.</p>
      ) : (
        <section class="scroll-y" tabIndex={0} aria-label="Changes">
          {view === 'causes' ? <Causes causes={data.causes} /> : <Latest changes={data.changes} />}
        </section>
      )}
    </Panel>
  )
}
