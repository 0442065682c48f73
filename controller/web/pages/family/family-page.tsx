import type { z } from 'zod'
import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import type { familySchema } from '../../../api/schemas.ts'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { withQuery } from '../../state/api.ts'
import * as format from '../../state/format.ts'
import { linkTo, route } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'
import { CardsPanel } from './cards-panel.tsx'
import { PlanePanel } from './plane-panel.tsx'
import { RunsPanel } from './runs-panel.tsx'
import { VariantsPanel } from './variants-panel.tsx'

type FamilyHead = z.infer<typeof familySchema>

/** Every version that this controller has. */
function Choice({ families, chosen }: { families: readonly FamilyHead[]; chosen: string | undefined }) {
  if (families.length < 2) return null
  return (
    <nav class="row" aria-label="Families and their versions">
      {families.map(({ family, version, manifestDigest }) => (
        <a
          key={manifestDigest}
          class="button"
          href={linkTo(['families', family], { version: manifestDigest })}
          {...(manifestDigest === chosen ? { 'aria-current': 'page' } : {})}
        >
          {family} {version}
        </a>
      ))}
    </nav>
  )
}

/** A family: what its shapes cost, how good they are, how they were made, and where each runs. */
export function FamilyPage({ family }: { family: string | undefined }) {
  const list = useApi<FamilyHead[]>('families')
  const name = family ?? list.data?.[0]?.family
  const { version } = route.value.query
  const { data, failure } = useApi<FamilyView>(
    name === undefined ? undefined : withQuery(`fleet/families/${encodeURIComponent(name)}`, { version }),
    { everyMs: 5000 },
  )
  const problem = failure ?? list.failure
  return (
    <>
      <div class="page-head">
        <h1>{name ?? 'Families'}</h1>
        {data === undefined ? null : (
          <span class="muted">
            version {data.version}, {data.task}, {data.licence},{' '}
            <span class="mono">{data.manifestDigest.slice(0, 12)}</span>
          </span>
        )}
        <div class="aside">
          <Choice families={list.data ?? []} chosen={data?.manifestDigest} />
        </div>
      </div>
      {problem === undefined ? null : <Note kind="lost">{problem.message}</Note>}
      {list.data?.length === 0 ? (
        <Note>This controller has no family: put one into the folder that "familiesDir" names.</Note>
      ) : null}
      {data === undefined && problem === undefined && list.data?.length !== 0 ? (
        <p class="muted">Loading the family</p>
      ) : null}
      {data === undefined ? null : (
        <>
          <p>{data.description}</p>
          <div class="columns wide-first stretch">
            <PlanePanel family={data} />
            <div class="stack">
              <VariantsPanel family={data} />
              {data.adapters.length === 0 ? null : (
                <Panel title="Adapters">
                  <ul>
                    {data.adapters.map(({ id, tensors, bytes }) => (
                      <li key={id}>
                        <strong>{id}</strong> changes {format.count(tensors)} tensors, weighs {format.bytes(bytes)}.
                        Alpha 0 is the base, alpha 1 the lowest rate.
                      </li>
                    ))}
                  </ul>
                </Panel>
              )}
            </div>
          </div>
          <RunsPanel family={data} />
          <CardsPanel family={data} />
        </>
      )}
    </>
  )
}
