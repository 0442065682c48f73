import { nowMs } from '../state/clock.ts'
import { duration } from '../state/format.ts'

/** Made once: making one takes longer than drawing a row of a list. */
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })

/** How long ago, kept up to date; the moment itself is its title. */
export function Ago({ atMs }: { atMs: number }) {
  if (!(atMs > 0)) return <span>never</span>
  const at = new Date(atMs)
  return (
    <time dateTime={at.toISOString()} title={moment.format(at)} class="nowrap">
      {duration(Math.max(0, nowMs.value - atMs) / 1000)} ago
    </time>
  )
}
