import type { ComponentChildren } from 'preact'

/** Something to be told, in place of or beside what was wanted. Failures are read out at once. */
export function Note({ kind, children }: { kind?: 'ok' | 'attention' | 'lost'; children: ComponentChildren }) {
  return (
    <p class="note" data-kind={kind} role={kind === 'lost' ? 'alert' : 'status'}>
      {children}
    </p>
  )
}
