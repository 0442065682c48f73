import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { z } from 'zod'
import type { familySchema } from '../../../api/schemas.ts'
import type { RolloutPreview, RolloutView } from '../../contracts/rollouts.ts'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'
import { Note } from '../../parts/note.tsx'
import { type ApiFailure, callApi } from '../../state/api.ts'
import { useApi } from '../../state/use-api.ts'

type FamilyHead = z.infer<typeof familySchema>

const Field = ({ name, children }: { name: string; children: ComponentChildren }) => (
  // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child.
  <label class="field">
    <span>{name}</span>
    {children}
  </label>
)

/** What a rollout would do, asked as its settings are chosen. */
function usePreview(body: object, isReady: boolean) {
  const [preview, setPreview] = useState<RolloutPreview>()
  const [failure, setFailure] = useState<string>()
  const question = JSON.stringify(body)
  useEffect(() => {
    if (!isReady) return
    const controller = new AbortController()
    const timer = setTimeout(() => {
      callApi<RolloutPreview>('rollouts/preview', {
        method: 'POST',
        body: JSON.parse(question),
        signal: controller.signal,
      }).then(
        (found) => {
          setPreview(found)
          setFailure(undefined)
        },
        (error: ApiFailure) => {
          if (!controller.signal.aborted) setFailure(error.message)
        },
      )
    }, 350)
    return () => {
      clearTimeout(timer)
      controller.abort()
    }
  }, [question, isReady])
  return { preview, failure }
}

/** Choose a version, the devices and the waves; see who would be in which; start. */
export function CreateDialog({ onCreated, onClose }: { onCreated: (id: string) => void; onClose: () => void }) {
  const families = useApi<FamilyHead[]>('families')
  const [manifestDigest, setDigest] = useState('')
  const [selector, setSelector] = useState('')
  const [waves, setWaves] = useState('5 25 50 100')
  const [needsApproval, setApproval] = useState(false)
  const [soakMinutes, setSoak] = useState('10')
  const chosen = families.data?.find((each) => each.manifestDigest === manifestDigest) ?? families.data?.[0]
  const body = {
    family: chosen?.family,
    manifestDigest: chosen?.manifestDigest,
    selector,
    wavesPct: waves
      .split(/[\s,%]+/)
      .filter((each) => each !== '')
      .map(Number),
    needsApproval,
    soakS: 60 * Number(soakMinutes),
  }
  const { preview, failure: problem } = usePreview(body, chosen !== undefined)
  const create = () =>
    callApi<RolloutView>('rollouts', { method: 'POST', body }).then(
      ({ id }) => onCreated(id),
      (error: ApiFailure) => error.message,
    ) as Promise<string | undefined>
  return (
    <ConfirmDialog
      title="New rollout"
      action="Start"
      isReady={preview !== undefined && preview.total > 0 && preview.conflicts.length === 0 && problem === undefined}
      onConfirm={create}
      onClose={onClose}
    >
      <Field name="Version">
        <select value={chosen?.manifestDigest ?? ''} onChange={(event) => setDigest(event.currentTarget.value)}>
          {(families.data ?? []).map((each) => (
            <option key={each.manifestDigest} value={each.manifestDigest}>
              {each.family} {each.version} ({each.manifestDigest.slice(0, 12)})
            </option>
          ))}
        </select>
      </Field>
      <Field name="Devices, by label; empty: all that run the family">
        <input
          class="mono"
          value={selector}
          placeholder="site=local,kind in (cam,kiosk)"
          onInput={(event) => setSelector(event.currentTarget.value)}
        />
      </Field>
      <Field name="Ends of the waves, percent">
        <input class="mono" value={waves} onInput={(event) => setWaves(event.currentTarget.value)} />
      </Field>
      <Field name="After each wave, watch its devices for so many minutes">
        <input
          class="mono"
          inputMode="decimal"
          value={soakMinutes}
          onInput={(event) => setSoak(event.currentTarget.value)}
        />
      </Field>
      <label class="row">
        <input type="checkbox" checked={needsApproval} onChange={(event) => setApproval(event.currentTarget.checked)} />
        Wait for approval after each wave
      </label>
      {problem === undefined ? null : <Note kind="lost">{problem}</Note>}
      {preview === undefined ? null : (
        <p class="small">
          {preview.total} {preview.total === 1 ? 'slot' : 'slots'}:{' '}
          {preview.waves.map(({ wave, members }) => `wave ${wave} has ${members.length}`).join(', ')};{' '}
          {preview.alreadyThere} run it already.
          {preview.conflicts.length === 0 ? '' : ` It would meet ${preview.conflicts.join(', ')}.`}
        </p>
      )}
    </ConfirmDialog>
  )
}
