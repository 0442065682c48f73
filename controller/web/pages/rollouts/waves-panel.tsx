import type { Comparison, WaveView } from '../../contracts/rollouts.ts'
import { Ago } from '../../parts/ago.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import { CountsBar } from './counts-bar.tsx'
import { WaveStatus } from './rollout-status.tsx'

const METRICS = { latencyP95: 'latency p95', joulesPerFrame: 'energy a frame', bitsPerFrame: 'bits a frame' } as const

function describe({ changePct, tolerancePct, pValue, method, newDevices, oldDevices }: Comparison): string {
  if (changePct === undefined) return `too little measured yet (${newDevices} new, ${oldDevices} old)`
  const sign = changePct > 0 ? '+' : ''
  const p = pValue === undefined ? '' : `, p ${pValue < 0.001 ? 'under 0.001' : pValue.toFixed(3)}`
  return `${sign}${changePct.toFixed(1)} %, up to +${tolerancePct.toFixed(0)} % is allowed${p}; ${method}, ${newDevices} new against ${oldDevices} old`
}

/** Waves in order, with what the new version costs against the old. */
export function WavesPanel({ waves }: { waves: readonly WaveView[] }) {
  return (
    <Panel title="Waves">
      <section class="scroll-x wide" tabIndex={0} aria-label="Waves, in order">
        <table>
          <thead>
            <tr>
              <Heads titles={['Wave', 'State', 'Members', 'New version against old']} />
            </tr>
          </thead>
          <tbody>
            {waves.map((wave) => (
              <tr key={wave.wave}>
                <th scope="row" class="nowrap">
                  {wave.wave}, to {wave.endPct} %
                </th>
                <td>
                  <WaveStatus state={wave.state} />
                  <div class="muted small">
                    {wave.startedAt === undefined ? null : (
                      <>
                        begun <Ago atMs={Date.parse(wave.startedAt)} />
                      </>
                    )}
                    {wave.soakEndsAt === undefined
                      ? ''
                      : `, soaks until ${new Date(wave.soakEndsAt).toLocaleTimeString('en-GB')}`}
                  </div>
                </td>
                <td>
                  <CountsBar counts={wave.counts} />
                </td>
                <td>
                  {wave.comparisons.length === 0 ? <span class="muted small">nothing to compare yet</span> : null}
                  <ul class="small">
                    {wave.comparisons.map((comparison) => (
                      <li key={comparison.metric}>
                        {comparison.isRegression ? <Status kind="lost" text="worse" /> : null}{' '}
                        {METRICS[comparison.metric]}: {describe(comparison)}
                      </li>
                    ))}
                  </ul>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Panel>
  )
}
