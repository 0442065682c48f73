import { upperHull } from '@espalier/shared/ladder/upper-hull'
import { useState } from 'preact/hooks'
import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import { Panel } from '../../parts/panel.tsx'
import { type Axis, axesOf, type PlanePoint, pointsOf, qualityName } from './plane-points.ts'

const [WIDTH, HEIGHT, LEFT, FOOT, TOP, RIGHT] = [640, 330, 46, 34, 10, 14]

/** Drawn around 0, 0: one for each variant, so that colour is not alone. */
const MARKS = [
  'M-4 0 a4 4 0 1 0 8 0 a4 4 0 1 0 -8 0',
  'M-4 -4 H4 V4 H-4 Z',
  'M0 -5 L5 4 H-5 Z',
  'M0 -5.5 L5.5 0 L0 5.5 L-5.5 0 Z',
]

/** Round steps that make about `wanted` lines. */
function ticksOf(low: number, high: number, wanted: number): number[] {
  const raw = (high - low) / wanted
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw)!
  const ticks: number[] = []
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) ticks.push(value)
  return ticks
}

function Plane({
  points,
  axis,
  variants,
  quality,
}: {
  points: readonly PlanePoint[]
  axis: Axis
  variants: readonly string[]
  quality: string
}) {
  const range = (values: number[], fromZero: boolean): [number, number] => {
    const [low, high] = [fromZero ? 0 : Math.min(...values), Math.max(...values)]
    const pad = (high - low || Math.abs(high) || 1) * 0.07
    return [fromZero ? 0 : low - pad, high + pad]
  }
  const [x0, x1] = range(
    points.map(({ cost }) => cost),
    true,
  )
  const [y0, y1] = range(
    points.map(({ quality: q }) => q),
    false,
  )
  const x = (cost: number) => LEFT + ((WIDTH - LEFT - RIGHT) * (cost - x0)) / (x1 - x0)
  const y = (value: number) => HEIGHT - FOOT - ((HEIGHT - FOOT - TOP) * (value - y0)) / (y1 - y0)
  const choices = points.map((point) => ({ ...point, rateBps: point.cost }))
  const order = choices
    .map((_, i) => i)
    .sort((a, b) => choices[a]!.cost - choices[b]!.cost || choices[b]!.quality - choices[a]!.quality)
  const hull = upperHull(choices, order, ({ quality: q }) => q)
  const line = hull
    .map((i, n) => `${n === 0 ? 'M' : 'L'}${x(choices[i]!.cost).toFixed(1)} ${y(choices[i]!.quality).toFixed(1)}`)
    .join('')
  return (
    <svg
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      class="plot"
      role="img"
      aria-label={`${points.length} shapes by ${axis.name} and ${quality}; ${hull.length} lie on the upper hull: ${hull.map((i) => choices[i]!.words).join('; ')}`}
    >
      {ticksOf(x0, x1, 6).map((tick) => (
        <g key={tick}>
          <line class="grid" x1={x(tick)} x2={x(tick)} y1={TOP} y2={HEIGHT - FOOT} />
          <text x={x(tick)} y={HEIGHT - FOOT + 14} text-anchor="middle">
            {axis.format(tick)}
          </text>
        </g>
      ))}
      {ticksOf(y0, y1, 6).map((tick) => (
        <g key={tick}>
          <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(tick)} y2={y(tick)} />
          <text x={LEFT - 6} y={y(tick) + 4} text-anchor="end">
            {Number(tick.toPrecision(4))}
          </text>
        </g>
      ))}
      <text x={WIDTH - RIGHT} y={HEIGHT - 4} text-anchor="end">
        {axis.name} (less is better)
      </text>
      <text x={LEFT + 6} y={TOP + 10}>
        {quality}
      </text>
      <path class="hull" d={line} />
      {points.map((point, i) => {
        const at = Math.max(0, variants.indexOf(point.variant))
        return (
          <path
            key={point.words}
            d={MARKS[at % MARKS.length]!}
            class={`mark mark-${(at % 4) + 1} ${hull.includes(i) ? '' : 'off-hull'}`}
            transform={`translate(${x(point.cost).toFixed(1)} ${y(point.quality).toFixed(1)})`}
          >
            <title>
              {point.words}: {axis.format(point.cost)}, {point.quality.toFixed(2)}
              {hull.includes(i) ? ', on the hull' : ''}
            </title>
          </path>
        )
      })}
    </svg>
  )
}

/** Cost against quality, with the hull that a price can choose from: what lies below it is never worth its cost. */
export function PlanePanel({ family }: { family: FamilyView }) {
  const axes = axesOf(family)
  const [key, setKey] = useState(axes[0]!.key)
  const axis = axes.find((each) => each.key === key) ?? axes[0]!
  const points = pointsOf(family, axis)
  const variants = family.variants.map(({ id }) => id)
  return (
    <Panel
      title="Cost and quality"
      aside={
        <label class="row small">
          <span class="muted">Cost</span>
          <select value={axis.key} onChange={(event) => setKey(event.currentTarget.value)}>
            {axes.map((each) => (
              <option key={each.key} value={each.key}>
                {each.name}
              </option>
            ))}
          </select>
        </label>
      }
    >
      {points.length < 2 ? (
        <p class="muted">Fewer than two shapes were measured.</p>
      ) : (
        <Plane points={points} axis={axis} variants={variants} quality={qualityName(family)} />
      )}
      <ul class="row small legend" aria-label="Variants">
        {variants.map((id, i) => (
          <li key={id}>
            <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
              <path d={MARKS[i % MARKS.length]!} class={`mark mark-${(i % 4) + 1}`} />
            </svg>{' '}
            {id}
          </li>
        ))}
        <li class="muted">line: upper hull; filled: on it</li>
      </ul>
    </Panel>
  )
}
