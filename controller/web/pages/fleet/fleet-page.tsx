import type { FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { Note } from '../../parts/note.tsx'
import { connection, summary } from '../../state/live.ts'
import { useApi } from '../../state/use-api.ts'
import { ChangesPanel } from './changes-panel.tsx'
import { ChartsPanel } from './charts-panel.tsx'
import { DeviceListPanel } from './device-list-panel.tsx'
import { FleetFigures } from './fleet-figures.tsx'
import { MapPanel } from './map-panel.tsx'
import { ScarcePanel } from './scarce-panel.tsx'

/** Everything at once: how the fleet is, what changed and why, what is scarce, and each device. */
export function FleetPage() {
  // The stream tells what changes; what was so before it opened is asked for.
  const first = useApi<FleetSummary>('fleet/summary')
  const shown = summary.value ?? first.data
  return (
    <>
      <h1 class="hidden-visually">Fleet</h1>
      {connection.value === 'lost' ? (
        <Note kind="lost">
          The controller does not answer. What is shown is as it was last heard; it is asked again by itself.
        </Note>
      ) : null}
      {shown === undefined ? (
        <p class="muted">Loading the fleet</p>
      ) : shown.fleet.devices === 0 ? (
        <Note>
          No device has reported yet. Start an agent that points at this controller, e.g. with "npx espalier up".
        </Note>
      ) : (
        <FleetFigures summary={shown} />
      )}
      <div class="columns wide-first stretch">
        <MapPanel groupings={shown?.groupings ?? ['site']} />
        <ChangesPanel total={shown?.changesLastHour ?? 0} />
      </div>
      <div class="columns wide-first stretch">
        <ChartsPanel />
        {shown === undefined ? null : <ScarcePanel summary={shown} />}
      </div>
      <DeviceListPanel />
    </>
  )
}
