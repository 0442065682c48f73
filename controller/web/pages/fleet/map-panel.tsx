import { useMemo } from 'preact/hooks'
import type { FleetMap } from '../../../api/routes/fleet-schemas.ts'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { route, setQuery } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'
import { Treemap } from './treemap.tsx'

const WORDS: Readonly<Record<string, string>> = {
  site: 'site',
  deviceClass: 'device class',
  family: 'family',
  variant: 'variant',
}

const wordOf = (by: string): string => (by.startsWith('label:') ? `label "${by.slice(6)}"` : (WORDS[by] ?? by))

/** Sites, or any other groups, as large as they have devices, and as bad as their worst. */
export function MapPanel({ groupings }: { groupings: readonly string[] }) {
  const { by = 'site', key } = route.value.query
  const { data, failure } = useApi<FleetMap>(`fleet/map?by=${encodeURIComponent(by)}`, { everyMs: 5000 })
  // The page is drawn whenever its figures change; hundreds of tiles are not.
  const tiles = useMemo(
    () => data && <Treemap groups={data.groups} by={by} selected={key} what={wordOf(by)} />,
    [data, by, key],
  )
  return (
    <Panel
      title="Map"
      class="fill"
      aside={
        <>
          {key === undefined ? null : (
            <button type="button" onClick={() => setQuery({ key: undefined })}>
              Show all again
            </button>
          )}
          <label class="row small">
            <span class="muted">Group by</span>
            <select value={by} onChange={(event) => setQuery({ by: event.currentTarget.value, key: undefined })}>
              {[...new Set([...groupings, by])].map((each) => (
                <option key={each} value={each}>
                  {wordOf(each)}
                </option>
              ))}
            </select>
          </label>
        </>
      }
    >
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      {data === undefined ? <p class="muted treemap">Loading the map</p> : tiles}
    </Panel>
  )
}
