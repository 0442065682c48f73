import * as echarts from 'echarts'
import { describeNode } from '../graph/attributes.ts'
import { costsOf, type Shapes } from '../graph/cost.ts'
import type { Graph } from '../graph/graph.ts'
import { withoutHover } from './plot.ts'

const ROW = 26
const INK = '#808080'

/** A graph's layers from top to bottom, with bars for what each multiplies and stores: SVG text. Pure. */
export function drawGraph(graph: Graph, shapes: Shapes): string {
  const costs = costsOf(graph, shapes)
  const rows = graph.nodes
    .map((node) => ({
      name: `${describeNode(node).slice(0, 44)}  ${(shapes.get(node.outputs[0]!) ?? []).join('x')}`,
      ...costs.get(node)!,
    }))
    .filter(({ macs, parameters }) => macs + parameters > 0)
  const height = 90 + rows.length * ROW
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 1000, height })
  const axis = (name: string, position: 'top' | 'bottom') => ({
    type: 'value' as const,
    name,
    position,
    nameLocation: 'middle' as const,
    nameGap: 26,
    nameTextStyle: { color: INK },
    axisLabel: { color: INK },
    splitLine: { lineStyle: { color: INK, opacity: 0.2 } },
  })
  chart.setOption({
    animation: false,
    color: ['#0072b2', '#e69f00'],
    legend: { top: 0, textStyle: { color: INK } },
    grid: { left: 420, right: 30, top: 60, bottom: 40 },
    xAxis: [axis('thousand MACs', 'top'), axis('thousand parameters', 'bottom')],
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows.map(({ name }) => name),
      axisLabel: { color: INK, fontSize: 10 },
    },
    series: [
      { name: 'MACs', type: 'bar', xAxisIndex: 0, data: rows.map(({ macs }) => macs / 1e3) },
      { name: 'parameters', type: 'bar', xAxisIndex: 1, data: rows.map(({ parameters }) => parameters / 1e3) },
    ],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return withoutHover(svg)
}
