/** Whatever was measured or sent, as paths and values for people. */
export function flatten(value: unknown, path = ''): [path: string, text: string][] {
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    if (entries.length > 0) return entries.flatMap(([key, each]) => flatten(each, path === '' ? key : `${path}.${key}`))
  }
  const text =
    typeof value === 'number'
      ? String(Number(value.toPrecision(6)))
      : typeof value === 'string'
        ? value || 'none'
        : JSON.stringify(value)
  return [[path, text ?? 'none']]
}
