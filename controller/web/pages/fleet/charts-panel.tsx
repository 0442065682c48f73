import { useState } from 'preact/hooks'
import type { FleetSeries } from '../../../api/routes/fleet-schemas.ts'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Segmented } from '../../parts/segmented.tsx'
import { type ChartSeries, TimeChart } from '../../parts/time-chart.tsx'
import * as format from '../../state/format.ts'
import { route } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'

const SPANS = [
  { value: '900', text: '15 min' },
  { value: '3600', text: '1 h' },
  { value: '86400', text: '1 d' },
  { value: '604800', text: '7 d' },
] as const

type Point = FleetSeries['points'][number]

/** Of the fleet, or of the site that is chosen on the map. */
export function ChartsPanel() {
  const [seconds, setSeconds] = useState<(typeof SPANS)[number]['value']>('900')
  const { by = 'site', key } = route.value.query
  const scope = by === 'site' && key !== undefined ? `site:${key}` : 'fleet'
  const { data, failure } = useApi<FleetSeries>(
    `fleet/series?scope=${encodeURIComponent(scope)}&seconds=${seconds}&points=240`,
    { everyMs: 10_000 },
  )
  const points = data?.points ?? []
  const line = (
    name: string,
    colour: ChartSeries['colour'],
    read: (p: Point) => number | undefined,
    isLimit = false,
  ) => ({
    name,
    colour,
    isLimit,
    values: points.map((p) => read(p) ?? null),
  })
  const timesMs = points.map(({ atMs }) => atMs)
  const hasBudget = points.some(({ budget }) => budget !== undefined)
  const budget = hasBudget ? [line('budget', 2, (p) => p.budget, true)] : []
  const isFleet = scope === 'fleet'
  const charts = [
    { title: 'Power', unit: format.power, series: [line('used', 1, (p) => p.powerW), ...(isFleet ? budget : [])] },
    { title: 'Rate', unit: format.rate, series: [line('used', 1, (p) => p.rateBps), ...(isFleet ? [] : budget)] },
    ...(points.some(({ gramsPerHour }) => gramsPerHour > 0)
      ? [
          {
            title: 'Carbon',
            unit: (v: number | undefined) => `${format.grams(v)}/h`,
            series: [line('CO2e', 3, (p) => p.gramsPerHour)],
          },
        ]
      : []),
    ...(isFleet && points.some(({ gap }) => gap !== undefined)
      ? [{ title: 'Gap to the optimum', unit: format.percent, series: [line('gap', 3, (p) => p.gap)] }]
      : []),
  ]
  return (
    <Panel
      title={isFleet ? 'The fleet over time' : `Site ${key} over time`}
      aside={<Segmented label="Time span" value={seconds} choices={SPANS} onChange={setSeconds} />}
    >
      {failure === undefined ? null : <Note kind="lost">{failure.message}</Note>}
      {data !== undefined && points.length < 2 ? (
        <p class="muted">A point is recorded every ten seconds: wait for two.</p>
      ) : null}
      <div class="columns charts">
        {charts.map(({ title, unit, series }) => (
          <TimeChart key={title} title={title} timesMs={timesMs} series={series} format={unit} height={118} />
        ))}
      </div>
    </Panel>
  )
}
