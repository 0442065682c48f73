import type { Evaluation } from '@espalier/forge/measure/evaluate'
import { msSsimDb, plotEvaluation } from '@espalier/forge/measure/plot'
import { describe, expect, test } from 'vitest'

const curve = (shift: number) =>
  [0, 1, 2].map((i) => ({ bpp: 0.3 + i * 0.4, psnrDb: 30 + i * 3 + shift, msSsim: 0.95 + i / 100 }))
const rates = { jpeg420: -30, jpeg444: -32, webp: -3, avif: 20 }
const evaluation: Evaluation = {
  images: 2,
  points: ['full', 'small'].flatMap((variant, v) =>
    curve(2 - v).map((point, i) => ({ ...point, variant, alpha: 1 - i / 2, encodeMs: 90 - 60 * v, decodeMs: 100 })),
  ),
  baselines: { jpeg420: curve(-2), jpeg444: curve(-1.5), webp: curve(0), avif: curve(3) },
  bdRatePct: { full: { ...rates, first: 0 }, small: { ...rates, first: 4 } },
}

describe('the plots of an evaluation', () => {
  const plots = plotEvaluation(evaluation)

  test('are the same text for the same figures', () => {
    expect(plotEvaluation(evaluation)).toEqual(plots)
  })

  test('name every curve and the axes, as text', () => {
    for (const name of ['rate-psnr.svg', 'rate-ms-ssim.svg'])
      for (const label of ['full', 'small', 'jpeg420', 'jpeg444', 'webp', 'avif', 'bits a pixel'])
        expect(plots[name]).toContain(`>${label}<`)
    expect(plots['rate-cost.svg']).toContain('>small<')
  })

  test('show every point', () => {
    const count = (svg: string) => svg.match(/<path[^>]*transform="matrix/g)?.length ?? 0
    // Six curves of three points, and one symbol each in the legend.
    expect(count(plots['rate-psnr.svg']!)).toBeGreaterThanOrEqual(18)
  })

  test('put MS-SSIM on a scale of equal steps', () => {
    expect(msSsimDb(0.9)).toBeCloseTo(10)
    expect(msSsimDb(0.99)).toBeCloseTo(20)
  })
})
