import type { ComponentChildren } from 'preact'

/** A name and what is known of it, one line of a list of such. */
export function Definition({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="definition">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
