import type { Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import type { DeviceDetail } from '../../contracts/device.ts'
import { Ago } from '../../parts/ago.tsx'
import { BudgetBar } from '../../parts/budget-bar.tsx'
import { Definition } from '../../parts/definition.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

/** What goes over the device's link, and what waits for it. */
export function LinkPanel({ detail, telemetry }: { detail: DeviceDetail; telemetry: DeviceTelemetry | undefined }) {
  const isCut = detail.state === 'offline' || detail.state === 'lost'
  const counters = telemetry?.counters as Telemetry | undefined
  return (
    <Panel
      title="Link"
      aside={isCut ? <Status kind="lost" text={detail.state} /> : <Status kind="ok" text="connected" />}
    >
      <dl class="definitions">
        <Definition name="Heard">
          <Ago atMs={Date.parse(detail.lastSeen)} />
        </Definition>
        {counters === undefined || telemetry === undefined ? (
          <Definition name="Bytes">no telemetry yet</Definition>
        ) : (
          <Bytes counters={counters} upS={telemetry.bootMs / 1000} />
        )}
      </dl>
    </Panel>
  )
}

function Bytes({ counters: { link, self }, upS }: { counters: Telemetry; upS: number }) {
  const meanOf = (bytes: number): string =>
    `${format.bytes(bytes)}, ${format.rate((8 * bytes) / Math.max(1, upS))} mean`
  return (
    <>
      {link === undefined ? null : (
        <>
          <Definition name="Sent since start">{meanOf(link.txBytes)}</Definition>
          <Definition name="Received since start">{meanOf(link.rxBytes)}</Definition>
          <Definition name="This month">
            {format.bytes(link.monthBytes)},{' '}
            {link.capBytes === undefined ? 'no cap' : `of ${format.bytes(link.capBytes)}`}
            {link.monthFetchBytes === undefined
              ? ''
              : `; versions of families ${format.bytes(link.monthFetchBytes)} of it`}
            {link.capBytes === undefined ? null : <BudgetBar used={link.monthBytes} total={link.capBytes} />}
          </Definition>
        </>
      )}
      <Definition name="Waits in the spool">
        {format.bytes(self.spoolBytes)}; {format.count(self.spoolDropped)} given up for want of room
      </Definition>
    </>
  )
}
