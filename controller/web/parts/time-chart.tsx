import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { isDark } from '../state/theme.ts'

export interface ChartSeries {
  readonly name: string
  readonly values: readonly (number | null)[]
  /** 1 to 4: which colour. */
  readonly colour: 1 | 2 | 3 | 4
  /** A limit, drawn dashed. */
  readonly isLimit?: boolean
}

export interface TimeChartProps {
  readonly title: string
  /** Milliseconds since 1970, rising. */
  readonly timesMs: readonly number[]
  readonly series: readonly ChartSeries[]
  readonly format: (value: number | undefined) => string
  readonly height?: number
  /** The axis begins at 0, unless told otherwise. */
  readonly fromZero?: boolean
}

const lastOf = (values: readonly (number | null)[]): number | undefined =>
  values.findLast((value): value is number => value !== null)

function colourOf(name: string): string {
  const probe = document.createElement('span')
  probe.style.color = `var(${name})`
  document.body.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** What a picture of the series says, in a sentence. */
function describe({ title, series, format, timesMs }: TimeChartProps): string {
  if (timesMs.length === 0) return `${title}: nothing recorded yet`
  const seconds = Math.round((timesMs.at(-1)! - timesMs[0]!) / 1000)
  const parts = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null)
    if (known.length === 0) return `${name}: none`
    return `${name}: now ${format(lastOf(values))}, from ${format(Math.min(...known))} to ${format(Math.max(...known))}`
  })
  return `${title} over ${Math.max(1, Math.round(seconds / 60))} minutes. ${parts.join('; ')}`
}

const toMinutes = new Intl.DateTimeFormat('en-GB', { timeStyle: 'short' })
const toSeconds = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })

function optionsOf(props: TimeChartProps, width: number, readout: (index: number | null) => void): uPlot.Options {
  const [ink, grid] = [colourOf('--muted'), colourOf('--line')]
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: '11px system-ui' }
  return {
    width,
    height: props.height ?? 130,
    legend: { show: false },
    cursor: { y: false, points: { size: 5 }, drag: { x: false, y: false } },
    scales: {
      y: {
        range: (_u, low, high) => {
          const from = props.fromZero === false ? low : 0
          const span = high - from || Math.abs(high) || 1
          return [props.fromZero === false ? from - 0.1 * span : 0, high + 0.12 * span]
        },
      },
    },
    axes: [
      {
        ...axis,
        space: 70,
        // Clear of the lowest mark of the other axis.
        gap: 9,
        size: 26,
        // Less than a minute apart, two marks would say the same.
        values: (_u, ticks, _axis, _space, stepS) =>
          ticks.map((tick) => (stepS < 60 ? toSeconds : toMinutes).format(1000 * tick)),
      },
      { ...axis, size: 66, space: 32, values: (_u, ticks) => ticks.map((tick) => props.format(tick)) },
    ],
    series: [
      {},
      ...props.series.map(
        ({ colour, isLimit }): uPlot.Series => ({
          stroke: colourOf(`--series-${colour}`),
          width: 1.5,
          points: { show: false },
          spanGaps: true,
          ...(isLimit ? { dash: [5, 4] } : {}),
        }),
      ),
    ],
    hooks: { setCursor: [(u) => readout(u.cursor.idx ?? null)] },
  }
}

/** Series over time, with what they are now, or where the pointer is, as text above. */
export function TimeChart(props: TimeChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const words = useRef<(HTMLElement | null)[]>([])
  const chart = useRef<uPlot>(undefined)
  const latest = useRef(props)
  latest.current = props
  const dark = isDark.value
  const shape = props.series.map(({ name, colour, isLimit }) => `${name}${colour}${isLimit}`).join()

  useEffect(() => {
    const show = (index: number | null): void => {
      for (const [i, { values }] of latest.current.series.entries()) {
        const value = index === null ? lastOf(values) : (values[index] ?? undefined)
        const word = words.current[i]
        if (word) word.textContent = latest.current.format(value)
      }
    }
    const drawn = new uPlot(optionsOf(latest.current, place.current!.clientWidth, show), [[]], place.current!)
    chart.current = drawn
    const resizing = new ResizeObserver(() =>
      drawn.setSize({ width: place.current?.clientWidth ?? 300, height: drawn.height }),
    )
    resizing.observe(place.current!)
    return () => {
      resizing.disconnect()
      drawn.destroy()
    }
  }, [dark, shape])

  useEffect(() => {
    const data = [props.timesMs.map((ms) => ms / 1000), ...props.series.map(({ values }) => [...values])]
    chart.current?.setData(data as uPlot.AlignedData)
    for (const [i, { values }] of props.series.entries()) {
      const word = words.current[i]
      if (word) word.textContent = props.format(lastOf(values))
    }
  })

  return (
    <figure class="chart">
      <figcaption>
        <span class="name">{props.title}</span>
        {props.series.map(({ name, colour, isLimit }, i) => (
          <span key={name} class={`small muted key key-${colour} ${isLimit ? 'dashed' : ''}`}>
            {name}{' '}
            <span
              ref={(element) => {
                words.current[i] = element
              }}
            />
          </span>
        ))}
      </figcaption>
      <div ref={place} role="img" aria-label={describe(props)} />
    </figure>
  )
}
