import type { FleetColumns } from '@espalier/controller/solver/columns'
import { seededRandom } from './seeded-random.ts'

export interface SampleOptions {
  readonly slots: number
  readonly perSite: number
  readonly seed: number
  /** Where budgets lie between the least and the most that could be used, 0 to 1. */
  readonly tightness?: number
  /** Sites under one gateway; 0: no gateways. */
  readonly perGateway?: number
  /** Whether carbon has a budget of its own. */
  readonly hasCarbon?: boolean
}

const MODELS = [
  { gigaMacs: 0.6, psnrDb: 30.5 },
  { gigaMacs: 1.3, psnrDb: 32.2 },
  { gigaMacs: 2.7, psnrDb: 33.6 },
  { gigaMacs: 5.2, psnrDb: 34.8 },
]
const ALPHAS = [
  { bits: 1, lossDb: 0 },
  { bits: 0.62, lossDb: 1.6 },
  { bits: 0.36, lossDb: 3.5 },
]
const FRAME_RATES = [15, 7.5]
export const OPTIONS_PER_SLOT = MODELS.length * ALPHAS.length * FRAME_RATES.length
const CLASSES = [
  { idleW: 2.4, joulesPerGigaMac: 0.11, gigaMacsPerS: 110 },
  { idleW: 5.5, joulesPerGigaMac: 0.05, gigaMacsPerS: 400 },
  { idleW: 3.2, joulesPerGigaMac: 0.21, gigaMacsPerS: 60 },
]
const BITS_PER_FRAME = 26_000
const ZONES_G_PER_KWH = [60, 320, 480]

/**
 * A random fleet of the kind that the planner is made for: three device classes, four models, three alphas and two frame
 * rates, log-normal content and slowdown, sites that share an uplink, one power budget.
 */
export function makeSampleFleet({
  slots,
  perSite,
  seed,
  tightness = 0.55,
  perGateway = 0,
  hasCarbon = false,
}: SampleOptions): FleetColumns {
  const random = seededRandom(seed)
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const siteCount = Math.ceil(slots / perSite)
  const siteOf = new Int32Array(slots)
  const start = new Int32Array(slots + 1)
  const rateBps = new Float64Array(slots * OPTIONS_PER_SLOT)
  const powerMw = new Float64Array(slots * OPTIONS_PER_SLOT)
  const utility = new Float64Array(slots * OPTIONS_PER_SLOT)
  const carbonGPerKwh = new Float64Array(slots)
  const siteSpan = Array.from({ length: siteCount }, () => ({ least: 0, most: 0 }))
  const power = { least: 0, most: 0 }
  const carbon = { least: 0, most: 0 }
  const common = Array.from({ length: siteCount }, () => Math.exp(0.2 * normal()))
  for (let i = 0; i < slots; i++) {
    const site = Math.floor(i / perSite)
    const board = CLASSES[Math.floor(random() * CLASSES.length)]!
    const content = common[site]! * Math.exp(0.35 * normal())
    const slowdown = Math.exp(0.15 * normal())
    const weight = 0.5 + random()
    siteOf[i] = site
    carbonGPerKwh[i] = ZONES_G_PER_KWH[site % ZONES_G_PER_KWH.length]!
    let at = start[i]!
    for (const { gigaMacs, psnrDb } of MODELS)
      for (const { bits, lossDb } of ALPHAS)
        for (const frameRate of FRAME_RATES) {
          // What misses its deadline is no option; the smallest model at the lowest rate always is one.
          const latencyS = (gigaMacs / board.gigaMacsPerS) * slowdown
          if (latencyS > 0.97 / frameRate && at > start[i]!) continue
          const quality = psnrDb - lossDb - 2 * Math.log(content) + 0.2 * normal()
          const worth = (1 / (1 + Math.exp(-(quality - 32) / 2))) * (frameRate / 15) ** 0.35
          rateBps[at] = Math.ceil(BITS_PER_FRAME * bits * content * frameRate * Math.exp(0.05 * normal()))
          powerMw[at] = Math.ceil(1000 * (board.idleW + board.joulesPerGigaMac * gigaMacs * slowdown * frameRate))
          utility[at] = Math.round(1e6 * weight * worth)
          at++
        }
    const used = (column: Float64Array, span: { least: number; most: number }, factor = 1): void => {
      const mine = column.subarray(start[i]!, at)
      span.least += factor * mine.reduce((a, b) => Math.min(a, b))
      span.most += factor * mine.reduce((a, b) => Math.max(a, b))
    }
    used(rateBps, siteSpan[site]!)
    used(powerMw, power)
    used(powerMw, carbon, carbonGPerKwh[i]!)
    start[i + 1] = at
  }
  const between = ({ least, most }: { least: number; most: number }): number =>
    Math.floor(least + tightness * (most - least))
  const gatewayOf = Int32Array.from({ length: siteCount }, (_, s) => (perGateway > 0 ? Math.floor(s / perGateway) : -1))
  const siteRateBps = Float64Array.from(siteSpan, between)
  const gatewayRateBps = new Float64Array(perGateway > 0 ? Math.ceil(siteCount / perGateway) : 0)
  for (let s = 0; s < siteCount; s++) if (perGateway > 0) gatewayRateBps[gatewayOf[s]!]! += siteRateBps[s]!
  return {
    siteOf,
    start,
    rateBps: rateBps.subarray(0, start[slots]!),
    powerMw: powerMw.subarray(0, start[slots]!),
    utility: utility.subarray(0, start[slots]!),
    carbonGPerKwh,
    limits: {
      siteRateBps,
      gatewayOf,
      // Tighter than its sites together, looser than nothing.
      gatewayRateBps: gatewayRateBps.map((rate) => Math.floor(0.9 * rate)),
      powerMw: between(power),
      carbonUgPerH: hasCarbon ? Math.floor(0.97 * between(carbon)) : Number.POSITIVE_INFINITY,
    },
  }
}
