import type { Update } from '@espalier/shared/messages/device'
import { Evidence } from '../../parts/evidence.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

const STEPS = ['fetch', 'verify', 'warm', 'trial', 'committed'] as const
const KINDS = {
  fetch: 'starting',
  verify: 'starting',
  warm: 'starting',
  trial: 'starting',
  committed: 'ok',
  'rolled-back': 'attention',
  safe: 'lost',
} as const

/** Where the slot is on its way to another version of its family, and what was measured on the way. */
export function UpdatePanel({ update, runs }: { update: Update | undefined; runs: string | undefined }) {
  const at = STEPS.indexOf(update?.state as (typeof STEPS)[number])
  return (
    <Panel
      title="Update"
      aside={update === undefined ? undefined : <Status kind={KINDS[update.state]} text={update.state} />}
    >
      <p class="small muted">
        Runs version <span class="mono">{runs?.slice(0, 12) ?? 'unknown'}</span>.
      </p>
      {update === undefined ? (
        <p>No update was begun.</p>
      ) : (
        <>
          <ol class="steps" aria-label="Steps of the update">
            {STEPS.map((step, i) => (
              <li key={step} data-done={at >= 0 && i < at} {...(i === at ? { 'aria-current': 'step' } : {})}>
                {step}
              </li>
            ))}
          </ol>
          <p>
            To version <span class="mono">{update.manifestDigest.slice(0, 12)}</span>, attempt {update.attempt};{' '}
            {format.bytes(update.fetchedBytes)} of {format.bytes(update.neededBytes)} fetched.
          </p>
          {update.reason === undefined ? null : <p>{update.reason}</p>}
          {update.evidence === undefined ? null : <Evidence title="Evidence" values={update.evidence} />}
        </>
      )}
    </Panel>
  )
}
