import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

/** A named part of a page. */
export function Panel(props: {
  title: string
  aside?: ComponentChildren
  children: ComponentChildren
  class?: string
}) {
  const id = useId()
  return (
    <section class={`panel ${props.class ?? ''}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{props.title}</h2>
        {props.aside === undefined ? null : <div class="aside">{props.aside}</div>}
      </header>
      {props.children}
    </section>
  )
}
