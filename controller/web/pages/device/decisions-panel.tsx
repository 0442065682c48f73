import type { Why } from '../../contracts/device.ts'
import { Ago } from '../../parts/ago.tsx'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

/** What the slot was told and why, latest first. */
export function DecisionsPanel({ history, slot }: { history: Why['history']; slot: string }) {
  const own = history.filter((decision) => decision.slot === slot)
  return (
    <Panel title="Decisions">
      {own.length === 0 ? (
        <p class="muted">None yet.</p>
      ) : (
        <section class="scroll-y" tabIndex={0} aria-label="Decisions, latest first">
          <table>
            <thead>
              <tr>
                <Heads titles={['When', 'Told to run', 'Held by', 'What more would be worth']} />
                <th scope="col" class="number">
                  Predicted
                </th>
              </tr>
            </thead>
            <tbody>
              {own.map(({ gen, at, why }) => (
                <tr key={gen}>
                  <td>
                    <Ago atMs={Date.parse(at)} />
                  </td>
                  <td class="mono">{format.shortConfiguration(why.chosen)}</td>
                  <td>{why.binding === 'none' ? 'nothing' : why.binding}</td>
                  <td>{why.price}</td>
                  <td class="number">
                    {format.rate(why.predicted.rateBps)}, {format.power(why.predicted.powerW)},{' '}
                    {format.quality(why.predicted)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Panel>
  )
}
