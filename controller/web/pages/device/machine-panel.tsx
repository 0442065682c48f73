import type { Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { Definition } from '../../parts/definition.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

/** What joules and latencies must be read with: temperature, clocks, throttling. */
export function MachinePanel({ telemetry }: { telemetry: DeviceTelemetry | undefined }) {
  const machine = (telemetry?.counters as Telemetry | undefined)?.machine
  if (machine === undefined)
    return (
      <Panel title="Temperature and clocks">
        <p class="muted">This device tells nothing of its temperature and clocks.</p>
      </Panel>
    )
  const events = Object.entries(machine.throttleEvents)
  return (
    <Panel
      title="Temperature and clocks"
      aside={
        machine.throttledNow.length > 0 ? (
          <Status kind="attention" text={`throttled: ${machine.throttledNow.join(', ')}`} />
        ) : (
          <Status kind="ok" text="not throttled" />
        )
      }
    >
      {Object.keys(machine.celsius).length + Object.keys(machine.clocksMhz).length > 0 ? null : (
        <p class="muted">Neither thermal zones nor clocks are found on this machine.</p>
      )}
      <dl class="definitions">
        {Object.entries(machine.celsius).map(([zone, value]) => (
          <Definition key={zone} name={zone}>
            {format.celsius(value)}
          </Definition>
        ))}
        {Object.entries(machine.clocksMhz).map(([group, mhz]) => (
          <Definition key={group} name={`clock of ${group}`}>{`${format.count(mhz)} MHz`}</Definition>
        ))}
        {machine.powerMode === undefined ? null : <Definition name="power mode">{machine.powerMode}</Definition>}
        {machine.throttledPast.length === 0 ? null : (
          <Definition name="throttled since start">{machine.throttledPast.join(', ')}</Definition>
        )}
        {events.map(([name, count]) => (
          <Definition key={name} name={`over-current events, ${name}`}>
            {format.count(count)}
          </Definition>
        ))}
      </dl>
    </Panel>
  )
}
