import type { Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { Definition } from '../../parts/definition.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

/** What the agent itself spends: joules, processor, memory and writes to storage. */
export function LedgersPanel({ telemetry }: { telemetry: DeviceTelemetry | undefined }) {
  const counters = telemetry?.counters as Telemetry | undefined
  if (counters === undefined || telemetry === undefined)
    return (
      <Panel title="Ledgers">
        <p class="muted">No telemetry yet.</p>
      </Panel>
    )
  const { self, carbon } = counters
  const upS = telemetry.bootMs / 1000
  return (
    <Panel title="Ledgers" aside={<span class="muted small">agent up {format.duration(upS)}</span>}>
      <dl class="definitions">
        <Definition name="Agent beside its slots">
          {format.energy(self.joules)}
          {self.monthJoules === undefined ? '' : `, ${format.energy(self.monthJoules)} this month`}
        </Definition>
        <Definition name="CPU of the agent">
          {format.duration(self.cpuSeconds)}, {format.percent(self.cpuSeconds / Math.max(1, upS))} of a core
        </Definition>
        <Definition name="Memory">{format.bytes(self.rssBytes)}</Definition>
        {self.flashBytes === undefined ? null : (
          <Definition name="Written to storage">{format.bytes(self.flashBytes)} since start</Definition>
        )}
        <Definition name="Workers started again">{format.count(self.workerRestarts)}</Definition>
        {carbon === undefined ? null : (
          <Definition name="Carbon">
            {format.grams(carbon.grams)} CO2e since start at {format.count(carbon.gramsPerKwh)} g/kWh ({carbon.source}
            {carbon.year === undefined ? '' : `, ${carbon.year}`})
          </Definition>
        )}
      </dl>
    </Panel>
  )
}
