import type { Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

const Row = ({ name, text }: { name: string; text: string }) => (
  <div class="definition">
    <dt>{name}</dt>
    <dd>{text}</dd>
  </div>
)

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
          <Row key={zone} name={zone} text={format.celsius(value)} />
        ))}
        {Object.entries(machine.clocksMhz).map(([group, mhz]) => (
          <Row key={group} name={`clock of ${group}`} text={`${format.count(mhz)} MHz`} />
        ))}
        {machine.powerMode === undefined ? null : <Row name="power mode" text={machine.powerMode} />}
        {machine.throttledPast.length === 0 ? null : (
          <Row name="throttled since start" text={machine.throttledPast.join(', ')} />
        )}
        {events.map(([name, count]) => (
          <Row key={name} name={`over-current events, ${name}`} text={format.count(count)} />
        ))}
      </dl>
    </Panel>
  )
}
