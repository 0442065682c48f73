import type { Birth, Telemetry } from '@espalier/shared/messages/device'
import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

/** Every source of joules with how it is known, and the sensors that were refused with why. */
export function EnergyPanel(props: {
  telemetry: DeviceTelemetry | undefined
  birth: Birth | undefined
  primary: string | undefined
}) {
  const counters = props.telemetry?.counters as Telemetry | undefined
  const idle = counters?.idle
  const refused = props.birth?.sensorsRefused ?? []
  return (
    <Panel
      title="Energy"
      aside={
        idle === undefined ? undefined : (
          <span class="muted small">
            idle {format.power(idle.watts)} ± {format.power(idle.halfWidthW)} by {idle.source},{' '}
            {format.duration(idle.ageS)} ago
          </span>
        )
      }
    >
      {counters === undefined ? (
        <p class="muted">No telemetry yet.</p>
      ) : (
        <section class="scroll-x" tabIndex={0} aria-label="Sources of energy">
          <table>
            <thead>
              <tr>
                <Heads titles={['Source and rail', 'Scope', 'Method']} />
                <Heads
                  titles={[
                    'Power now',
                    'Since start',
                    'Above idle',
                    '95 % interval',
                    'Covered',
                    'Readings',
                    'Failed',
                    'Cost of looking',
                  ]}
                  isNumber
                />
              </tr>
            </thead>
            <tbody>
              {counters.energy.map((source) => {
                const key = `${source.source} ${source.rail}`
                return (
                  <tr key={`${key} ${source.scope} ${source.method}`}>
                    <th scope="row">
                      {source.source} <span class="muted">{source.rail}</span>
                      {source.source === props.primary ? ' (speaks for the device)' : ''}
                    </th>
                    <td>{source.scope}</td>
                    <td>{source.method}</td>
                    <td class="number">{format.power(props.telemetry?.window?.railsW[key])}</td>
                    <td class="number">{format.energy(source.joules)}</td>
                    <td class="number">{format.energy(Math.max(0, source.joules - source.idleJoules))}</td>
                    <td class="number">± {format.percent(source.uncertainty)}</td>
                    <td class="number">{format.percent(source.coverage)}</td>
                    <td class="number">{format.perSecond(source.rateHz)}</td>
                    <td class="number">{format.count(source.failures)}</td>
                    <td class="number">
                      {source.costShare === undefined
                        ? format.UNKNOWN
                        : `${format.percent(source.costShare)} of a core`}
                    </td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </section>
      )}
      {refused.length === 0 ? null : (
        <details>
          <summary>{refused.length} sensors are there and do not count</summary>
          <ul class="small">
            {refused.map(({ name, why, reason }) => (
              <li key={name}>
                <strong>{name}</strong> ({why}): {reason}
              </li>
            ))}
          </ul>
        </details>
      )}
    </Panel>
  )
}
