import * as echarts from 'echarts'
import type { Evaluation, QualityPoint } from './evaluate.ts'

const WIDTH = 860
const HEIGHT = 520
/** Okabe and Ito's palette, told apart with any colour vision, on white and on dark pages. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#999999', '#b8a500']
const INK = '#808080'

interface Curve {
  readonly name: string
  readonly isOurs: boolean
  readonly points: readonly (readonly [x: number, y: number])[]
}

/** Classes for a pointer that hovers, numbered by a counter of the process: without them the same curves give the same file. */
export const withoutHover = (svg: string): string =>
  svg
    .replace(/ class="zr\d+-cls-\d+"/g, '')
    .replace(/<style[\s\S]*?<\/style>/g, '')
    .replace(/zr\d+-/g, 'z-')

function draw(title: string, axes: { x: string; y: string }, curves: readonly Curve[], areLabelled = false): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT })
  const axis = (name: string) => ({
    type: 'value' as const,
    name,
    nameLocation: 'middle' as const,
    nameGap: 32,
    scale: true,
    nameTextStyle: { color: INK },
    axisLabel: { color: INK },
    splitLine: { lineStyle: { color: INK, opacity: 0.2 } },
  })
  chart.setOption({
    animation: false,
    color: COLOURS,
    title: { text: title, left: 'center', textStyle: { color: INK, fontSize: 15 } },
    legend: { bottom: 0, textStyle: { color: INK } },
    grid: { left: 64, right: 24, top: 44, bottom: 84 },
    xAxis: axis(axes.x),
    yAxis: axis(axes.y),
    series: curves.map(({ name, isOurs, points }) => ({
      name,
      type: areLabelled ? ('scatter' as const) : ('line' as const),
      data: points.map(([x, y]) => [x, y]),
      symbol: isOurs ? 'circle' : 'rect',
      symbolSize: areLabelled ? 14 : isOurs ? 7 : 5,
      lineStyle: { width: isOurs ? 2.5 : 1.5, type: isOurs ? ('solid' as const) : ('dashed' as const) },
      ...(areLabelled ? { label: { show: true, position: 'right' as const, formatter: '{a}', color: INK } } : {}),
    })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return withoutHover(svg)
}

/** MS-SSIM in decibels: equal steps look about equally large. */
export const msSsimDb = (value: number): number => -10 * Math.log10(Math.max(1e-6, 1 - value))

function rateCurves(evaluation: Evaluation, quality: (point: QualityPoint) => number): Curve[] {
  const variants = [...new Set(evaluation.points.map(({ variant }) => variant))]
  const toPoints = (points: readonly QualityPoint[]) => points.map((point) => [point.bpp, quality(point)] as const)
  return [
    ...variants.map((name) => ({
      name,
      isOurs: true,
      points: toPoints(evaluation.points.filter(({ variant }) => variant === name)),
    })),
    ...Object.entries(evaluation.baselines).map(([name, points]) => ({
      name,
      isOurs: false,
      points: toPoints(points),
    })),
  ]
}

/** Rate against quality, and cost against rate, of an evaluation: file name -> SVG text. Pure. */
export function plotEvaluation(evaluation: Evaluation): Record<string, string> {
  const images = `${evaluation.images} images`
  const rate = 'bits a pixel'
  const variants = Object.keys(evaluation.bdRatePct)
  const meanMs = (variant: string): number => {
    const own = evaluation.points.filter((point) => point.variant === variant)
    return own.reduce((sum, { encodeMs }) => sum + encodeMs, 0) / own.length
  }
  const costs = variants.flatMap((name): Curve[] => {
    const against = evaluation.bdRatePct[name]!.jpeg420
    return against === null ? [] : [{ name, isOurs: true, points: [[meanMs(name), against]] }]
  })
  return {
    'rate-psnr.svg': draw(
      `Rate and PSNR, ${images}`,
      { x: rate, y: 'PSNR, dB' },
      rateCurves(evaluation, (p) => p.psnrDb),
    ),
    'rate-ms-ssim.svg': draw(
      `Rate and MS-SSIM, ${images}`,
      { x: rate, y: 'MS-SSIM, dB' },
      rateCurves(evaluation, (p) => msSsimDb(p.msSsim)),
    ),
    'rate-cost.svg': draw(
      `Cost and rate, ${images}`,
      { x: 'encode, ms an image', y: 'BD-rate against JPEG 4:2:0, %' },
      costs,
      true,
    ),
  }
}
