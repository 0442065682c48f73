import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'
import { linkTo } from '../../state/router.ts'

/** Where each variant runs now, and what it costs there. */
export function RunsPanel({ family }: { family: FamilyView }) {
  return (
    <Panel title="Runs now">
      {family.runs.length === 0 ? (
        <p class="muted">No device runs it.</p>
      ) : (
        <section class="scroll-x" tabIndex={0} aria-label="Where each variant runs">
          <table>
            <thead>
              <tr>
                <Heads titles={['Variant', 'Device class']} />
                <Heads titles={['Devices', 'Rate', 'Power', 'J/frame', 'p95, median', 'PSNR']} isNumber />
              </tr>
            </thead>
            <tbody>
              {family.runs.map((run) => (
                <tr key={run.key}>
                  <th scope="row">
                    <a href={linkTo([], { by: 'variant', key: run.variant })}>{run.variant}</a>
                  </th>
                  <td>
                    <a href={linkTo([], { by: 'deviceClass', key: run.deviceClass })}>{run.deviceClass}</a>
                  </td>
                  <td class="number">{format.count(run.devices)}</td>
                  <td class="number">{format.rate(run.rateBps)}</td>
                  <td class="number">{format.power(run.powerW)}</td>
                  <td class="number">{format.energy(run.joulesPerFrame)}</td>
                  <td class="number">{format.milliseconds(run.latencyP95Ms)}</td>
                  <td class="number">{format.decibels(run.psnrDb)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Panel>
  )
}
