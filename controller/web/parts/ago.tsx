import { nowMs } from '../state/clock.ts'
import { duration } from '../state/format.ts'

/** How long ago, kept up to date; the moment itself is its title. */
export function Ago({ atMs }: { atMs: number }) {
  if (!(atMs > 0)) return <span>never</span>
  const at = new Date(atMs)
  return (
    <time dateTime={at.toISOString()} title={at.toLocaleString('en-GB')} class="nowrap">
      {duration(Math.max(0, nowMs.value - atMs) / 1000)} ago
    </time>
  )
}
