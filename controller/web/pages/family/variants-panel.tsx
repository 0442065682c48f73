import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

function describeParameters(parameters: Record<string, unknown>): string {
  const parts = Object.entries(parameters).map(
    ([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
  )
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`
}

/** What each variant weighs and computes, and how it was made. */
export function VariantsPanel({ family }: { family: FamilyView }) {
  const [base] = family.variants
  const isCodec = family.task === 'image-codec'
  return (
    <Panel title="Variants and lineage">
      <section class="scroll-x" tabIndex={0} aria-label="Variants">
        <table>
          <thead>
            <tr>
              <th scope="col">Variant</th>
              <th scope="col" class="number">
                {isCodec ? 'MAC a pixel' : 'MAC a picture'}
              </th>
              <th scope="col" class="number">
                Of {base?.id}
              </th>
              <th scope="col" class="number">
                Size
              </th>
              <th scope="col" class="number">
                To fetch beside {base?.id}
              </th>
              {isCodec ? null : (
                <th scope="col" class="number">
                  Accuracy
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {family.variants.map((variant) => (
              <tr key={variant.id}>
                <th scope="row">{variant.id}</th>
                <td class="number">{format.count(variant.macs)}</td>
                <td class="number">{format.percent(variant.macs / (base?.macs ?? 1))}</td>
                <td class="number">{format.bytes(variant.bytes)}</td>
                <td class="number">{variant.ownBytes === 0 ? 'nothing' : format.bytes(variant.ownBytes)}</td>
                {isCodec ? null : (
                  <td class="number">
                    {variant.accuracyPct === undefined ? format.UNKNOWN : `${variant.accuracyPct.toFixed(1)} %`}
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {family.variants.every(({ lineage }) => lineage.length === 0) ? (
        <p class="muted small">The manifest tells no steps between them: each was trained as it is.</p>
      ) : (
        <ul class="small changes">
          {family.variants
            .filter(({ lineage }) => lineage.length > 0)
            .map(({ id, lineage }) => (
              <li key={id}>
                <strong>{id}</strong>
                <ol>
                  {lineage.map((step, i) => (
                    <li key={`${i} ${step.pass}`}>
                      {i + 1}. {step.pass}
                      {describeParameters(step.parameters)}
                    </li>
                  ))}
                </ol>
              </li>
            ))}
        </ul>
      )}
    </Panel>
  )
}
