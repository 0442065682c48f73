import { useState } from 'preact/hooks'
import type { RolloutAction, RolloutView } from '../../contracts/rollouts.ts'
import { Ago } from '../../parts/ago.tsx'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'
import { Evidence } from '../../parts/evidence.tsx'
import { Missing } from '../../parts/missing.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { type ApiFailure, callApi } from '../../state/api.ts'
import { useApi } from '../../state/use-api.ts'
import { MembersPanel } from './members-panel.tsx'
import { RolloutStatus } from './rollout-status.tsx'
import { WavesPanel } from './waves-panel.tsx'

const ACTIONS: Readonly<Record<RolloutAction, { name: string; sentence: string }>> = {
  pause: { name: 'Pause', sentence: 'No device is given the order until it is resumed; those that have it go on.' },
  resume: { name: 'Resume', sentence: 'The wave goes on, or the next one begins.' },
  stop: {
    name: 'Stop',
    sentence: 'Devices that have not begun are not given the order any more. It cannot be started again.',
  },
  'roll-back': { name: 'Roll back', sentence: 'Every device that took the version goes back to the one it had.' },
}

/** One rollout: its waves with what was compared, its members, and what can be done. */
export function RolloutDetail({ id }: { id: string }) {
  const { data, failure, reload } = useApi<RolloutView>(`rollouts/${encodeURIComponent(id)}`, { everyMs: 2000 })
  const [asking, setAsking] = useState<RolloutAction>()
  const [reason, setReason] = useState('')
  const [problem, setProblem] = useState<string>()
  const act = async (action: RolloutAction): Promise<void> => {
    try {
      await callApi(`rollouts/${encodeURIComponent(id)}/${action}`, {
        method: 'POST',
        body: reason === '' ? {} : { reason },
      })
      setProblem(undefined)
    } catch (error) {
      setProblem((error as ApiFailure).message)
    }
    reload()
  }
  return (
    <>
      <div class="page-head">
        <h1>{id}</h1>
        {data === undefined ? null : (
          <>
            <RolloutStatus state={data.state} />
            <span>{data.reason}</span>
            <span class="muted">
              {data.family} {data.version}, for {data.selector === '' ? 'all that run it' : data.selector}, by{' '}
              {data.createdBy} <Ago atMs={Date.parse(data.createdAt)} />
            </span>
          </>
        )}
        <div class="aside">
          <a class="button" href="#/rollouts">
            All rollouts
          </a>
          {data?.actions.map((action) => (
            <button
              key={action}
              type="button"
              class={action === 'stop' || action === 'roll-back' ? 'danger' : ''}
              onClick={() => setAsking(action)}
            >
              {ACTIONS[action].name}…
            </button>
          ))}
        </div>
      </div>
      <Missing failure={failure} what={`rollout "${id}"`} />
      {problem === undefined ? null : <Note kind="lost">{problem}</Note>}
      {data === undefined ? null : (
        <>
          <WavesPanel waves={data.waveList} />
          <MembersPanel id={id} total={data.counts.total} />
          <Panel title="As it was asked for">
            <Evidence title="All settings" values={data.spec} />
          </Panel>
        </>
      )}
      {asking === undefined ? null : (
        <ConfirmDialog
          title={`${ACTIONS[asking].name} ${id}?`}
          action={ACTIONS[asking].name}
          isDanger={asking === 'stop' || asking === 'roll-back'}
          onConfirm={() => void act(asking)}
          onClose={() => setAsking(undefined)}
        >
          <p>{ACTIONS[asking].sentence}</p>
          <label class="field">
            <span>Reason, kept in the audit</span>
            <input value={reason} maxLength={500} onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        </ConfirmDialog>
      )}
    </>
  )
}
