import type { DeviceRow } from '../../../overview/device-row.ts'
import type { Health } from '../../../overview/judge-health.ts'
import { Ago } from '../../parts/ago.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { HEALTH_WORDS, Status } from '../../parts/status.tsx'
import { type Column, VirtualList } from '../../parts/virtual-list.tsx'
import * as format from '../../state/format.ts'
import { linkTo, route, setQuery } from '../../state/router.ts'
import { useDevicePages } from './use-device-pages.ts'

const COLUMNS = [
  { key: 'id', title: 'Device', width: 'minmax(110px, 1.4fr)', isSortable: true },
  { key: 'health', title: 'Health', width: '104px', isSortable: true },
  { key: 'site', title: 'Site', width: 'minmax(70px, 1fr)', isSortable: true },
  { key: 'deviceClass', title: 'Class', width: 'minmax(90px, 1fr)', isSortable: true },
  { key: 'configurationId', title: 'Runs', width: 'minmax(190px, 2fr)', isSortable: true },
  { key: 'rateBps', title: 'Rate', width: '92px', isNumber: true, isSortable: true },
  { key: 'powerW', title: 'Power', width: '76px', isNumber: true, isSortable: true },
  { key: 'joulesPerFrame', title: 'J/frame', width: '76px', isNumber: true, isSortable: true },
  { key: 'latencyP95Ms', title: 'p95', width: '74px', isNumber: true, isSortable: true },
  { key: 'psnrDb', title: 'PSNR', width: '70px', isNumber: true, isSortable: true },
  { key: 'celsius', title: 'Hottest', width: '70px', isNumber: true, isSortable: true },
  { key: 'lastSeenMs', title: 'Heard', width: '96px', isNumber: true, isSortable: true },
] as const satisfies readonly Column<string>[]
type Key = (typeof COLUMNS)[number]['key']

function cell(row: DeviceRow, key: Key) {
  switch (key) {
    case 'id':
      return <a href={linkTo(['device', row.id])}>{row.id}</a>
    case 'health':
      return <Status kind={row.health} title={row.reason} />
    case 'site':
      return row.site ?? format.UNKNOWN
    case 'deviceClass':
      return row.deviceClass ?? format.UNKNOWN
    case 'configurationId':
      return <span class="mono">{format.shortConfiguration(row.configurationId)}</span>
    case 'rateBps':
      return format.rate(row.rateBps)
    case 'powerW':
      return format.power(row.powerW)
    case 'joulesPerFrame':
      return format.energy(row.joulesPerFrame)
    case 'latencyP95Ms':
      return format.milliseconds(row.latencyP95Ms)
    case 'psnrDb':
      return format.decibels(row.psnrDb)
    case 'celsius':
      return format.celsius(row.celsius)
    case 'lastSeenMs':
      return <Ago atMs={row.lastSeenMs} />
  }
}

const HEALTHS = Object.keys(HEALTH_WORDS) as Health[]

/** Every device, however many: search, filter and sort happen in the controller. */
export function DeviceListPanel() {
  const { search, health, by, key, sort = 'id', order = 'up' } = route.value.query
  const { total, failure, itemAt, onRange } = useDevicePages({
    search,
    health,
    ...(key === undefined ? {} : { by: by ?? 'site', key }),
    sort,
    order,
  })
  const onSort = (next: Key) => setQuery({ sort: next, order: sort === next && order === 'up' ? 'down' : 'up' })
  return (
    <Panel
      title="Devices"
      aside={
        <>
          <span class="muted small" role="status">
            {total === undefined ? 'loading' : `${format.count(total)} found`}
          </span>
          {key === undefined ? null : (
            <button type="button" onClick={() => setQuery({ key: undefined })}>
              {by ?? 'site'}: {key}, show all
            </button>
          )}
          <label class="row small">
            <span class="muted">Health</span>
            <select value={health ?? ''} onChange={(event) => setQuery({ health: event.currentTarget.value })}>
              <option value="">all</option>
              {HEALTHS.map((each) => (
                <option key={each} value={each}>
                  {HEALTH_WORDS[each]}
                </option>
              ))}
            </select>
          </label>
          <label class="row small">
            <span class="muted">Search</span>
            <input
              type="search"
              value={search ?? ''}
              placeholder="id, site, class, configuration"
              onInput={(event) => setQuery({ search: event.currentTarget.value })}
            />
          </label>
        </>
      }
    >
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      <VirtualList
        label="Devices"
        columns={COLUMNS}
        total={total ?? 0}
        itemAt={itemAt}
        cell={cell}
        onRange={onRange}
        sort={{ key: sort, order: order === 'down' ? 'down' : 'up' }}
        onSort={onSort}
        height={Math.min(560, 34 + 30 * Math.max(1, total ?? 3))}
        whenEmpty={
          total === undefined
            ? undefined
            : search || health || key
              ? 'No device is like that: search for less, or show all.'
              : 'No device yet.'
        }
        minWidth={1080}
      />
    </Panel>
  )
}
