import type { SlotDesired, SlotReported, Why } from '../../contracts/device.ts'
import { Definition } from '../../parts/definition.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

/** Why the slot runs what it runs: what binds, what would be next, and what it may fall to by itself. */
export function SlotWhy(props: {
  why: Why['now'][number]['why'] | undefined
  desired: SlotDesired | undefined
  reported: SlotReported | undefined
  gen: number | undefined
  answered: number | undefined
}) {
  const { why, desired } = props
  const isBehind = props.gen !== undefined && props.answered !== props.gen
  return (
    <Panel title="Why this">
      <dl class="definitions">
        <Definition name="Held by">
          {why === undefined
            ? 'not planned'
            : why.binding === 'none'
              ? 'nothing'
              : (why.bindings ?? [why.binding]).join(', ')}
        </Definition>
        {why === undefined ? null : (
          <>
            <Definition name="Price">{why.price}</Definition>
            <Definition name="Predicted">
              {format.rate(why.predicted.rateBps)}, {format.power(why.predicted.powerW)},{' '}
              {format.milliseconds(why.predicted.latencyMs)}, {format.quality(why.predicted)}
            </Definition>
            <Definition name="Runner-up">
              <span class="mono">{format.shortConfiguration(why.runnerUp)}</span>
            </Definition>
          </>
        )}
        {desired === undefined ? null : (
          <>
            <Definition name="Told to run">
              <span class="mono">{format.configuration(desired.ladder[0]!.configuration)}</span>, generation {props.gen}
              {isBehind ? `, it has answered ${props.answered ?? 'none'}` : ', answered'}
            </Definition>
            <Definition name="May fall to by itself">{desired.ladder.length - 1} cheaper rungs</Definition>
          </>
        )}
      </dl>
      {desired === undefined || desired.ladder.length < 2 ? null : (
        <details>
          <summary>The ladder</summary>
          <section class="scroll-y" tabIndex={0} aria-label="Rungs of the ladder">
            <table>
              <thead>
                <tr>
                  <th scope="col">Rung</th>
                  <Heads titles={['Rate', 'Power', 'Utility']} isNumber />
                </tr>
              </thead>
              <tbody>
                {desired.ladder.map((rung) => {
                  const name = format.configuration(rung.configuration)
                  return (
                    <tr key={name}>
                      <td class="mono">{name}</td>
                      <td class="number">{format.rate(rung.rateBps)}</td>
                      <td class="number">{format.power(rung.powerW)}</td>
                      <td class="number">{format.utility(rung.utility)}</td>
                    </tr>
                  )
                })}
              </tbody>
            </table>
          </section>
        </details>
      )}
    </Panel>
  )
}
