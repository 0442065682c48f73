function flatten(value: unknown, path: string): [string, string][] {
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    if (entries.length > 0) return entries.flatMap(([key, each]) => flatten(each, path === '' ? key : `${path}.${key}`))
  }
  const text =
    typeof value === 'number'
      ? String(Number(value.toPrecision(6)))
      : typeof value === 'string'
        ? value
        : JSON.stringify(value)
  return [[path, text ?? 'none']]
}

/** Whatever was measured or sent, as names and values. */
export function Evidence({ title, values }: { title: string; values: unknown }) {
  return (
    <details class="evidence">
      <summary>{title}</summary>
      <dl class="definitions small">
        {flatten(values, '').map(([name, text]) => (
          <div key={name} class="definition">
            <dt>{name}</dt>
            <dd class="mono">{text}</dd>
          </div>
        ))}
      </dl>
    </details>
  )
}
