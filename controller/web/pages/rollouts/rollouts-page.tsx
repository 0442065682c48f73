import { useState } from 'preact/hooks'
import type { RolloutList, RolloutSummary } from '../../contracts/rollouts.ts'
import { Ago } from '../../parts/ago.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Missing } from '../../parts/missing.tsx'
import { Panel } from '../../parts/panel.tsx'
import { linkTo } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'
import { CountsBar } from './counts-bar.tsx'
import { CreateDialog } from './create-dialog.tsx'
import { RolloutDetail } from './rollout-detail.tsx'
import { RolloutStatus } from './rollout-status.tsx'

function List({ rollouts }: { rollouts: readonly RolloutSummary[] }) {
  if (rollouts.length === 0)
    return (
      <p class="muted">
        None yet. A rollout brings a version of a family out in waves, and stops by itself when it is worse.
      </p>
    )
  return (
    <section class="scroll-x wide" tabIndex={0} aria-label="All rollouts">
      <table>
        <thead>
          <tr>
            <Heads titles={['Rollout', 'Version', 'Devices', 'State', 'Wave', 'Members', 'Changed']} />
          </tr>
        </thead>
        <tbody>
          {rollouts.map((rollout) => (
            <tr key={rollout.id}>
              <th scope="row">
                <a href={linkTo(['rollouts', rollout.id])}>{rollout.id}</a>
              </th>
              <td>
                {rollout.family} {rollout.version} <span class="mono muted">{rollout.manifestDigest.slice(0, 12)}</span>
              </td>
              <td>{rollout.selector === '' ? 'all' : <span class="mono">{rollout.selector}</span>}</td>
              <td>
                <RolloutStatus state={rollout.state} /> <span class="small">{rollout.reason}</span>
              </td>
              <td>
                {rollout.wave} of {rollout.waves}
              </td>
              <td>
                <CountsBar counts={rollout.counts} />
              </td>
              <td>
                <Ago atMs={Date.parse(rollout.changedAt)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

/** Versions on their way to devices, or one of them in full. */
export function RolloutsPage({ id }: { id: string | undefined }) {
  const { data, failure } = useApi<RolloutList>('rollouts', { everyMs: 3000 })
  const [isCreating, setCreating] = useState(false)
  if (id !== undefined) return <RolloutDetail id={id} />
  return (
    <>
      <div class="page-head">
        <h1>Rollouts</h1>
        <div class="aside">
          <button type="button" class="primary" disabled={data === undefined} onClick={() => setCreating(true)}>
            New rollout…
          </button>
        </div>
      </div>
      <Missing failure={failure} what="rollouts" />
      {data === undefined ? null : (
        <Panel title="All rollouts">
          <List rollouts={data.rollouts} />
        </Panel>
      )}
      {isCreating ? (
        <CreateDialog
          onCreated={(id) => {
            location.hash = linkTo(['rollouts', id])
          }}
          onClose={() => setCreating(false)}
        />
      ) : null}
    </>
  )
}
