import { useRef, useState } from 'preact/hooks'
import type { FleetMap } from '../../../api/routes/fleet-schemas.ts'
import type { Health } from '../../../overview/judge-health.ts'
import { squarify } from '../../parts/squarify.ts'
import { Glyph, HEALTH_WORDS } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'
import { linkTo, route } from '../../state/router.ts'

type Group = FleetMap['groups'][number]

/** Wide enough for words. */
const WORDS_SHARE = { width: 0.1, height: 0.13 }
/** Of a panel, about. */
const ASPECT = 3

/** One lost camera of a hundred is not the colour of a site; a tenth of them is. */
const WORST_SHARE = 0.1

export function worstOf({ byHealth, devices }: Pick<Group, 'byHealth' | 'devices'>): Health {
  const has = (health: Health, share: number) => (byHealth[health] ?? 0) > share * devices
  if (has('lost', WORST_SHARE)) return 'lost'
  if ((byHealth.attention ?? 0) + (byHealth.lost ?? 0) > 0) return 'attention'
  if (has('starting', 0.5)) return 'starting'
  return has('resting', 0.5) ? 'resting' : 'ok'
}

function describe(group: Group): string {
  const parts = (['lost', 'attention', 'starting', 'resting'] as const)
    .filter((health) => (group.byHealth[health] ?? 0) > 0)
    .map((health) => `${group.byHealth[health]} ${HEALTH_WORDS[health]}`)
  return parts.length === 0 ? 'all well' : parts.join(', ')
}

function describeUse({ rateBps, powerW, budget }: Group): string {
  const of = budget?.total === undefined ? '' : ` of ${format.rate(budget.total)}`
  return `${format.rate(rateBps)}${of}, ${format.power(powerW)}`
}

/** A schematic map: one tile a group. Arrow keys go through the tiles, Enter shows a tile's devices. */
export function Treemap(props: { groups: readonly Group[]; by: string; selected: string | undefined; what: string }) {
  const { groups } = props
  const place = useRef<HTMLDivElement>(null)
  const [active, setActive] = useState(0)
  const tiles = squarify(
    groups.map(({ devices }) => devices),
    ASPECT,
  )
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (step === undefined) return
    event.preventDefault()
    const next = (active + step + groups.length) % groups.length
    setActive(next)
    place.current?.querySelectorAll('a')[next]?.focus()
  }
  return (
    <div class="treemap" role="group" aria-label={`Devices by ${props.what}`} ref={place} onKeyDown={onKeyDown}>
      {groups.map((group, i) => {
        const { x, y, width, height } = tiles[i]!
        const kind = worstOf(group)
        const hasWords = width >= WORDS_SHARE.width && height >= WORDS_SHARE.height
        const isSelected = props.selected === group.key
        const words = `${group.key}: ${group.devices} ${group.devices === 1 ? 'device' : 'devices'}, ${describe(group)}; ${describeUse(group)}`
        return (
          <a
            key={group.key}
            href={linkTo([], { ...route.value.query, by: props.by, key: isSelected ? undefined : group.key })}
            data-kind={kind}
            tabIndex={i === active ? 0 : -1}
            aria-label={hasWords ? undefined : words}
            aria-current={isSelected ? 'true' : undefined}
            title={words}
            onFocus={() => setActive(i)}
            style={{ left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` }}
          >
            {hasWords ? (
              <>
                <strong>{group.key}</strong>
                <span>
                  <Glyph kind={kind} /> {format.count(group.devices)}
                  <span class="hidden-visually"> devices</span>, {describe(group)}
                </span>
                {height > 0.25 ? <span>{describeUse(group)}</span> : null}
              </>
            ) : kind === 'ok' ? null : (
              <Glyph kind={kind} />
            )}
          </a>
        )
      })}
    </div>
  )
}
