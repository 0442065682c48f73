import { Evidence } from './evidence.tsx'
import { flatten } from './flatten.ts'

/** More than these are not read at a glance. */
const SHOWN = 4

/** What of a thing changed, field by field; all of it behind a click. */
export function Difference({ before, after }: { before: unknown; after: unknown }) {
  const from = new Map(before === undefined ? [] : flatten(before))
  const to = new Map(after === undefined ? [] : flatten(after))
  const changed = [...new Set([...from.keys(), ...to.keys()])].filter((path) => from.get(path) !== to.get(path))
  return (
    <div class="difference small">
      {changed.slice(0, SHOWN).map((path) => (
        <div key={path}>
          {path === '' ? '' : <span class="muted">{path} </span>}
          {from.has(path) ? <del>{from.get(path)}</del> : null}
          {from.has(path) && to.has(path) ? ' → ' : null}
          {to.has(path) ? <ins>{to.get(path)}</ins> : null}
        </div>
      ))}
      {changed.length <= SHOWN && (from.size === 0 || to.size === 0) ? null : (
        <>
          {before === undefined ? null : <Evidence title="All before" values={before} />}
          {after === undefined ? null : <Evidence title="All after" values={after} />}
        </>
      )}
    </div>
  )
}
