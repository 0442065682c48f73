import type { Measured } from '@espalier/shared/manifest/measured'
import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

/** What variants cost as it was measured when the family was made: by device class, backend and size. */
export function CardsPanel({ family }: { family: FamilyView }) {
  const cards = family.variants.flatMap(({ id, measured }) =>
    (measured as unknown as Measured[]).map((card) => ({ id, card })),
  )
  return (
    <Panel title="Measured cards">
      {cards.length === 0 ? (
        <p class="muted">
          None in the manifest: "espalier forge profile" measures a variant on a device and writes them. What devices of
          this fleet measured is under "Runs now".
        </p>
      ) : (
        <section class="scroll-x" tabIndex={0} aria-label="Measured cards">
          <table>
            <thead>
              <tr>
                <Heads titles={['Device class', 'Variant', 'Backend']} />
                <Heads titles={['Size', 'Alpha', 'p50', 'p95', 'J/frame above idle', 'Memory', 'Runs']} isNumber />
              </tr>
            </thead>
            <tbody>
              {cards.map(({ id, card }, i) => (
                <tr key={`${i} ${id}`}>
                  <th scope="row">{card.deviceClass}</th>
                  <td>{id}</td>
                  <td>
                    {card.backend}, {card.threads} {card.threads === 1 ? 'thread' : 'threads'}
                  </td>
                  <td class="number">
                    {card.width} × {card.height}
                  </td>
                  <td class="number">{(card.alpha255 / 255).toFixed(2)}</td>
                  <td class="number">{format.milliseconds(card.latencyMs.p50)}</td>
                  <td class="number">{format.milliseconds(card.latencyMs.p95)}</td>
                  <td class="number">
                    {format.energy(card.joulesPerFrame.value)} ({format.energy(card.joulesPerFrame.interval[0])} to{' '}
                    {format.energy(card.joulesPerFrame.interval[1])}), {card.joulesPerFrame.source}
                  </td>
                  <td class="number">{format.bytes(card.rssBytes)}</td>
                  <td class="number">{format.count(card.samples)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Panel>
  )
}
