import { flatten } from './flatten.ts'

/** Whatever was measured or sent, as names and values. */
export function Evidence({ title, values }: { title: string; values: unknown }) {
  return (
    <details class="evidence">
      <summary>{title}</summary>
      <dl class="definitions small">
        {flatten(values).map(([name, text]) => (
          <div key={name} class="definition">
            <dt>{name}</dt>
            <dd class="mono">{text}</dd>
          </div>
        ))}
      </dl>
    </details>
  )
}
