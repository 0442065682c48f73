import type { Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { BudgetBar } from '../../parts/budget-bar.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

const Row = ({ name, children }: { name: string; children: preact.ComponentChildren }) => (
  <div class="definition">
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
)

/** What the agent itself spends: bytes, joules, memory, and what waits in its spool. */
export function LedgersPanel({ telemetry }: { telemetry: DeviceTelemetry | undefined }) {
  const counters = telemetry?.counters as Telemetry | undefined
  if (counters === undefined || telemetry === undefined)
    return (
      <Panel title="Ledgers">
        <p class="muted">No telemetry yet.</p>
      </Panel>
    )
  const { link, self, carbon } = counters
  const upS = telemetry.bootMs / 1000
  return (
    <Panel title="Ledgers" aside={<span class="muted small">agent up {format.duration(upS)}</span>}>
      <dl class="definitions">
        {link === undefined ? null : (
          <>
            <Row name="Sent, received">
              {format.bytes(link.txBytes)}, {format.bytes(link.rxBytes)} since start
            </Row>
            <Row name="This month">
              {format.bytes(link.monthBytes)}{' '}
              {link.capBytes === undefined ? 'of no cap' : `of ${format.bytes(link.capBytes)}`}
              {link.capBytes === undefined ? null : <BudgetBar used={link.monthBytes} total={link.capBytes} />}
            </Row>
          </>
        )}
        <Row name="Agent beside its slots">
          {format.energy(self.joules)}
          {self.monthJoules === undefined ? '' : `, ${format.energy(self.monthJoules)} this month`}
        </Row>
        <Row name="CPU of the agent">
          {format.duration(self.cpuSeconds)}, {format.percent(self.cpuSeconds / Math.max(1, upS))} of a core
        </Row>
        <Row name="Memory">{format.bytes(self.rssBytes)}</Row>
        <Row name="Spool">
          {format.bytes(self.spoolBytes)} wait, {format.count(self.spoolDropped)} given up
        </Row>
        <Row name="Workers started again">{format.count(self.workerRestarts)}</Row>
        {carbon === undefined ? null : (
          <Row name="Carbon">
            {format.grams(carbon.grams)} CO2e since start at {format.count(carbon.gramsPerKwh)} g/kWh ({carbon.source}
            {carbon.year === undefined ? '' : `, ${carbon.year}`})
          </Row>
        )}
      </dl>
    </Panel>
  )
}
