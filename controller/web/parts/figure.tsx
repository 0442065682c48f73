import type { ComponentChildren } from 'preact'

/** A number with its name, and what it must be read with. Stands in a `<dl class="figures">`. */
export function Figure({
  name,
  value,
  detail,
}: {
  name: string
  value: ComponentChildren
  detail?: ComponentChildren
}) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd class="value">{value}</dd>
      {detail === undefined ? null : <dd class="detail">{detail}</dd>}
    </div>
  )
}
