import * as echarts from 'echarts'
import type { RankedRectifier } from '../passes/collapse.ts'
import { withoutHover } from './plot.ts'

const INK = '#808080'
const ROW = 22

/**
 * A ranking of non-linearities as bars, the one that would be missed least on top, with how many channels are on: SVG
 * text. Pure. Those without a score are left out.
 */
export function plotRanking(ranking: readonly RankedRectifier[], method: string): string {
  const rows = ranking.filter(({ score }) => score !== null)
  const height = 90 + rows.length * ROW
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 860, height })
  chart.setOption({
    animation: false,
    color: ['#0072b2'],
    title: { text: `Rectifiers by ${method}`, left: 'center', textStyle: { color: INK, fontSize: 15 } },
    grid: { left: 260, right: 90, top: 44, bottom: 40 },
    xAxis: {
      type: 'value',
      name: method === 'easier' ? 'mean entropy, bits' : 'expected error that reaches the next layer',
      nameLocation: 'middle',
      nameGap: 26,
      nameTextStyle: { color: INK },
      axisLabel: { color: INK },
      splitLine: { lineStyle: { color: INK, opacity: 0.2 } },
    },
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows.map(({ name, kind }) => `${kind} ${name}`.slice(0, 40)),
      axisLabel: { color: INK, fontSize: 10, interval: 0 },
    },
    series: [
      {
        type: 'bar',
        data: rows.map(({ score, on, channels }) => ({
          value: score,
          label: { show: true, position: 'right', color: INK, fontSize: 10, formatter: `${on} of ${channels} on` },
        })),
      },
    ],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return withoutHover(svg)
}
