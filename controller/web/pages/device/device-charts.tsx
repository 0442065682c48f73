import type { DeviceSeries } from '../../../api/routes/fleet-schemas.ts'
import { Panel } from '../../parts/panel.tsx'
import { type ChartSeries, TimeChart } from '../../parts/time-chart.tsx'
import * as format from '../../state/format.ts'
import { ConfigurationTimeline } from './configuration-timeline.tsx'

/** How a slot's costs and quality came, under the configurations that it ran. */
export function DeviceCharts({
  series,
  slot,
  leaseBps,
}: {
  series: DeviceSeries | undefined
  slot: string
  leaseBps: number | undefined
}) {
  const points = (series?.points ?? []).flatMap((point) => {
    const own = point.slots.find((each) => each.slot === slot)
    return own === undefined ? [] : [{ ...own, atMs: point.atMs, powerW: point.powerW, celsius: point.celsius }]
  })
  type Point = (typeof points)[number]
  const timesMs = points.map(({ atMs }) => atMs)
  const line = (
    name: string,
    colour: ChartSeries['colour'],
    read: (p: Point) => number | undefined,
    isLimit = false,
  ): ChartSeries => ({
    name,
    colour,
    isLimit,
    values: points.map((p) => read(p) ?? null),
  })
  const lease = leaseBps === undefined ? [] : [line('lease now', 2, () => leaseBps, true)]
  const charts = [
    { title: 'Rate', unit: format.rate, series: [line('sent', 1, (p) => p.rateBps), ...lease] },
    { title: 'Power of the device', unit: format.power, series: [line('drawn', 1, (p) => p.powerW)] },
    { title: 'Energy a frame', unit: format.energy, series: [line('spent', 1, (p) => p.joulesPerFrame)] },
    { title: 'Latency', unit: format.milliseconds, series: [line('p95', 1, (p) => p.latencyP95Ms)] },
    ...(points.some(({ psnrDb }) => psnrDb !== undefined)
      ? [{ title: 'Quality', unit: format.decibels, series: [line('PSNR', 1, (p) => p.psnrDb)], fromZero: false }]
      : []),
    ...(points.some(({ celsius }) => celsius !== undefined)
      ? [
          {
            title: 'Temperature',
            unit: format.celsius,
            series: [line('hottest zone', 4, (p) => p.celsius)],
            fromZero: false,
          },
        ]
      : []),
  ]
  return (
    <Panel
      title="Over time"
      aside={<span class="muted small">{points.length} points of what is kept, at most an hour</span>}
    >
      {points.length < 2 ? (
        <p class="muted">Nothing to draw yet.</p>
      ) : (
        <>
          <ConfigurationTimeline points={points} />
          <div class="columns charts dense">
            {charts.map(({ title, unit, series: lines, ...more }) => (
              <TimeChart
                key={title}
                title={title}
                timesMs={timesMs}
                series={lines}
                format={unit}
                height={110}
                {...more}
              />
            ))}
          </div>
        </>
      )}
    </Panel>
  )
}
