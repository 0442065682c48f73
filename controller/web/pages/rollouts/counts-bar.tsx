import type { MemberCounts, MemberState } from '../../contracts/rollouts.ts'
import { OF_MEMBER } from './rollout-status.tsx'

const ORDER: readonly MemberState[] = [
  'succeeded',
  'updating',
  'ordered',
  'held',
  'failed',
  'returning',
  'returned',
  'withdrawn',
  'waiting',
]

/** How many members are in which state: as words, and as a bar of their colours. */
export function CountsBar({ counts }: { counts: MemberCounts }) {
  const present = ORDER.filter((state) => counts[state] > 0)
  let at = 0
  return (
    <div class="counts">
      <svg class="budget-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" width="100" height="8" />
        {present.map((state) => {
          const width = (100 * counts[state]) / Math.max(1, counts.total)
          at += width
          return <rect key={state} class={`part-${OF_MEMBER[state]}`} x={at - width} width={width} height="8" />
        })}
      </svg>
      <span class="small">
        {present.length === 0 ? 'none' : present.map((state) => `${counts[state]} ${state}`).join(', ')}
      </span>
    </div>
  )
}
