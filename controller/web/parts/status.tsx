import type { Health } from '../../overview/judge-health.ts'

/** A shape for each kind, so that colour is never alone. */
const GLYPHS: Record<Health, string> = {
  ok: 'M1.5 5.5 L4 8 L8.5 2.5',
  starting: 'M5 1.5 V5 L7.5 6.5 M5 1 A4 4 0 1 1 4.9 1',
  resting: 'M3.2 2 V8 M6.8 2 V8',
  attention: 'M5 1 L9 8.5 H1 Z M5 4 V6',
  lost: 'M2 2 L8 8 M8 2 L2 8',
}

export const HEALTH_WORDS: Record<Health, string> = {
  ok: 'well',
  starting: 'starting',
  resting: 'resting',
  attention: 'attention',
  lost: 'lost',
}

export function Glyph({ kind }: { kind: Health }) {
  return (
    <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">
      <path d={GLYPHS[kind]} fill="none" stroke="currentColor" stroke-width="1.6" />
    </svg>
  )
}

/** How something is: a glyph, a colour and a word. */
export function Status({ kind, text, title }: { kind: Health; text?: string; title?: string | undefined }) {
  return (
    <span class="status" data-kind={kind} title={title}>
      <Glyph kind={kind} />
      {text ?? HEALTH_WORDS[kind]}
    </span>
  )
}
