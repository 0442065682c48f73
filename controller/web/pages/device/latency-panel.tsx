import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'

type Window = NonNullable<DeviceTelemetry['window']>['slots'][number]

const [WIDTH, HEIGHT, FOOT] = [520, 150, 18]
/** As in shared/histogram.ts: eight buckets an octave. */
const OCTAVE = 8
const bucketOf = (seconds: number): number => Math.round(Math.log2(seconds) * OCTAVE)

function Histogram({
  window,
  seconds,
  deadlineMs,
}: {
  window: Window
  seconds: number
  deadlineMs: number | undefined
}) {
  const buckets = window.latency.map(({ upToS, count }) => ({ bucket: bucketOf(upToS), count, upToS }))
  const deadline = deadlineMs === undefined ? undefined : Math.log2(deadlineMs / 1000) * OCTAVE
  const low = Math.min(...buckets.map(({ bucket }) => bucket), Math.floor(deadline ?? 1e9)) - 2
  const high = Math.max(...buckets.map(({ bucket }) => bucket), Math.ceil(deadline ?? -1e9)) + 2
  const most = Math.max(...buckets.map(({ count }) => count))
  const x = (bucket: number) => (WIDTH * (bucket - low)) / (high - low)
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i).filter((bucket) => bucket % OCTAVE === 0)
  const frames = buckets.reduce((sum, { count }) => sum + count, 0)
  const late =
    deadline === undefined ? 0 : buckets.reduce((sum, { bucket, count }) => sum + (bucket > deadline ? count : 0), 0)
  const words = `${frames} frames in ${seconds.toFixed(0)} s: p50 ${format.milliseconds(window.latencyP50Ms)}, p95 ${format.milliseconds(window.latencyP95Ms)}; ${late} over the deadline of ${format.milliseconds(deadlineMs)}`
  return (
    <figure>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} class="plot" role="img" aria-label={words}>
        {ticks.map((bucket) => (
          <g key={bucket}>
            <line class="grid" x1={x(bucket)} x2={x(bucket)} y1={0} y2={HEIGHT - FOOT} />
            <text x={x(bucket)} y={HEIGHT - 4} text-anchor="middle">
              {format.milliseconds(1000 * 2 ** (bucket / OCTAVE))}
            </text>
          </g>
        ))}
        {buckets.map(({ bucket, count }) => {
          const height = ((HEIGHT - FOOT - 12) * count) / most
          return (
            <rect
              key={bucket}
              class={deadline !== undefined && bucket > deadline ? 'bar late' : 'bar'}
              x={x(bucket - 1) + 0.5}
              width={Math.max(1, x(bucket) - x(bucket - 1) - 1)}
              y={HEIGHT - FOOT - height}
              height={height}
            />
          )
        })}
        {deadline === undefined ? null : (
          <g>
            <line class="deadline" x1={x(deadline)} x2={x(deadline)} y1={0} y2={HEIGHT - FOOT} />
            <text x={x(deadline) - 4} y={10} text-anchor="end">
              deadline
            </text>
          </g>
        )}
        <line class="axis" x1={0} x2={WIDTH} y1={HEIGHT - FOOT} y2={HEIGHT - FOOT} />
      </svg>
      <figcaption class="muted small">{words}.</figcaption>
    </figure>
  )
}

/** How long frames took lately, from their arrival to their result. */
export function LatencyPanel({
  window,
  seconds,
  frameRate,
}: {
  window: Window | undefined
  seconds: number
  frameRate: number | undefined
}) {
  return (
    <Panel title="Latency">
      {window === undefined || window.latency.length === 0 ? (
        <p class="muted">No frame was done lately.</p>
      ) : (
        <Histogram
          window={window}
          seconds={seconds}
          deadlineMs={frameRate === undefined ? undefined : 1000 / frameRate}
        />
      )}
    </Panel>
  )
}
