import { withoutHover } from '@espalier/forge/measure/plot'
import * as echarts from 'echarts'

/** One bar, % of the clairvoyant with free changes. */
export interface PolicyBar {
  readonly policy: string
  readonly utilityPct: number
  /** Half of the 95 % interval; absent: one run. */
  readonly halfWidth?: number | undefined
  /** Share of site-epochs in which an uplink carried more than it may. */
  readonly siteViolations: number
}

const [WIDTH, ROW] = [860, 34]
const INK = '#808080'
const [OURS, OTHERS, BROKEN] = ['#0072b2', '#56b4e9', '#d55e00']
/** Policies that break an uplink more often are not to be compared with those that keep it. */
const BROKEN_SHARE = 0.01

/** Utility of each policy, those that break uplinks in another colour: SVG text. */
export function plotPolicies(title: string, bars: readonly PolicyBar[]): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: 120 + bars.length * ROW })
  const colour = ({ policy, siteViolations }: PolicyBar) =>
    siteViolations > BROKEN_SHARE ? BROKEN : policy === 'ours' ? OURS : OTHERS
  const label = ({ utilityPct, halfWidth, siteViolations }: PolicyBar) =>
    `${utilityPct.toFixed(1)}${halfWidth === undefined ? '' : ` ± ${halfWidth.toFixed(1)}`} %, uplinks exceeded ${(100 * siteViolations).toFixed(2)} %`
  chart.setOption({
    animation: false,
    title: { text: title, left: 'center', textStyle: { color: INK, fontSize: 15 } },
    grid: { left: 120, right: 230, top: 44, bottom: 56 },
    xAxis: {
      type: 'value',
      min: 0,
      max: 100,
      name: '% of the clairvoyant with free changes; orange: uplinks exceeded in more than 1 %',
      nameLocation: 'middle',
      nameGap: 32,
      nameTextStyle: { color: INK },
      axisLabel: { color: INK },
      splitLine: { lineStyle: { color: INK, opacity: 0.2 } },
    },
    yAxis: { type: 'category', inverse: true, data: bars.map(({ policy }) => policy), axisLabel: { color: INK } },
    series: [
      {
        type: 'bar',
        data: bars.map((bar) => ({
          value: bar.utilityPct,
          itemStyle: { color: colour(bar) },
          label: { show: true, position: 'right', color: INK, formatter: label(bar) },
        })),
      },
    ],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return withoutHover(svg)
}
