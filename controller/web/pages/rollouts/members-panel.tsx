import { useState } from 'preact/hooks'
import type { MemberState, RolloutMember, RolloutMembers } from '../../contracts/rollouts.ts'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { type Column, VirtualList } from '../../parts/virtual-list.tsx'
import { withQuery } from '../../state/api.ts'
import * as format from '../../state/format.ts'
import { linkTo } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'
import { MemberStatus, OF_MEMBER } from './rollout-status.tsx'

/** The API's largest page: what does not fit is found by its state. */
const PAGE = 1000

const COLUMNS = [
  { key: 'slot', title: 'Slot', width: 'minmax(130px, 1fr)' },
  { key: 'site', title: 'Site', width: 'minmax(90px, 1fr)' },
  { key: 'wave', title: 'Wave', width: '60px', isNumber: true },
  { key: 'state', title: 'State', width: '120px' },
  { key: 'update', title: 'Update', width: 'minmax(160px, 1fr)' },
  { key: 'reason', title: 'Why', width: 'minmax(160px, 2fr)' },
] as const satisfies readonly Column<string>[]

function cell(member: RolloutMember, key: (typeof COLUMNS)[number]['key']) {
  const { device, slot, site, wave, state, update, reason } = member
  switch (key) {
    case 'slot':
      return <a href={linkTo(['device', device], { slot })}>{`${device}/${slot}`}</a>
    case 'site':
      return site ?? format.UNKNOWN
    case 'wave':
      return wave
    case 'state':
      return <MemberStatus state={state} />
    case 'update':
      return update === undefined
        ? format.UNKNOWN
        : `${update.state}, ${update.neededBytes === 0 ? 'all is there' : `${format.bytes(update.fetchedBytes)} of ${format.bytes(update.neededBytes)}`}`
    case 'reason':
      return <span title={reason ?? update?.reason}>{reason ?? update?.reason ?? ''}</span>
  }
}

export function MembersPanel({ id, total }: { id: string; total: number }) {
  const [state, setState] = useState<MemberState | ''>('')
  const { data, failure } = useApi<RolloutMembers>(
    withQuery(`rollouts/${encodeURIComponent(id)}/members`, { state, limit: PAGE }),
    { everyMs: 3000 },
  )
  const members = data?.members ?? []
  return (
    <Panel
      title="Members"
      aside={
        <>
          <span class="muted small" role="status">
            {members.length} of {total}
          </span>
          <label class="row small">
            <span class="muted">State</span>
            <select value={state} onChange={(event) => setState(event.currentTarget.value as MemberState | '')}>
              <option value="">all</option>
              {Object.keys(OF_MEMBER).map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </select>
          </label>
        </>
      }
    >
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      <VirtualList
        label="Members of the rollout"
        columns={COLUMNS}
        total={members.length}
        itemAt={(index) => members[index]}
        cell={cell}
        height={Math.min(420, 34 + 30 * Math.max(2, members.length))}
        minWidth={820}
      />
    </Panel>
  )
}
