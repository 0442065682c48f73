import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { priorEstimate } from '@espalier/controller/estimate/slot-estimate'
import type { PlanLimits } from '@espalier/controller/plan/limits'
import type { SlotInput } from '@espalier/controller/plan/option'
import { choosePlan, type Plan, planPrepared } from '@espalier/controller/plan/plan-fleet'
import { FleetSolver } from '@espalier/controller/plan/solve'
import { SlotCache } from '@espalier/controller/planner/slot-inputs'
import { comparePlans } from '@espalier/controller/planner/what-if'
import { slotIdSchema } from '@espalier/shared/ids'
import { parseManifest } from '@espalier/shared/manifest/manifest'
import { seededRandom } from './seeded-random.ts'

export interface ProductionResult {
  readonly slots: number
  /** From births and estimates to ladders, leases and reasons, the first time. */
  readonly firstMs: number
  /** The same after telemetry of every slot. */
  readonly nextMs: number
  /** The same after telemetry of one slot, median of several one after the other. */
  readonly oneMs: number
  readonly whatIfMs: number
  readonly changed: number
  readonly gapPct: number
}

/** Slots that change one after the other. */
const CHANGES = 21

/**
 * The controller's own plan of the family that ships, for devices of three speeds on sites of fifty, under uplinks, gateways,
 * power and carbon at once.
 *
 * @param models Folder of families.
 * @param time Runs something and says how long that took, ms.
 */
export async function measureProduction(
  slots: number,
  models: string,
  time: <T>(run: () => T) => { ms: number; result: T },
): Promise<ProductionResult> {
  const manifest = parseManifest(await readFile(join(models, 'kodo', 'manifest.json'), 'utf8'), 'kodo')
  if (manifest.task !== 'image-codec') throw new TypeError('Cannot plan "kodo": expected an image codec')
  const random = seededRandom(1)
  const estimateOf = () => {
    const known = ({ common }: typeof priorEstimate.bits, spread: number) => ({
      common: { ...common, mean: common.mean + spread * (random() - 0.5), variance: 0.01, noise: 0.005 },
      residuals: {},
    })
    return {
      ...priorEstimate,
      bits: known(priorEstimate.bits, 1),
      latency: known(priorEstimate.latency, 0.4),
      energy: known(priorEstimate.energy, 0.4),
      quality: { ...priorEstimate.quality, mean: 4 * (random() - 0.5) },
      basePower: { meanW: 2, varianceW2: 0.01, readings: 9 },
    }
  }
  let inputs = Array.from({ length: slots }, (_, i): SlotInput => {
    const site = Math.floor(i / 50)
    return {
      key: `cam-${i}/cam0`,
      site: `site-${site}`,
      gateway: `mast-${Math.floor(site / 10)}`,
      carbonGPerKwh: [60, 320, 480][site % 3]!,
      birth: {
        slot: slotIdSchema.parse('cam0'),
        family: 'kodo',
        manifestDigest: 'a'.repeat(64) as SlotInput['birth']['manifestDigest'],
        source: { kind: 'clip', width: 512, height: 288, frameRate: 10 },
        backends: [{ backend: 'wasm', threads: 2 }],
        macsPerSecond: [6e9, 12e9, 40e9][i % 3]!,
        weight: 0.5 + random(),
      },
      manifest,
      estimate: estimateOf(),
      planned: undefined,
    }
  })
  const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-${i}`)
  const sites = ids('site', Math.ceil(slots / 50))
  const masts = ids('mast', Math.ceil(sites.length / 10))
  const limit = (total: number) => ({ total: Math.floor(total), reserved: 0, marginShare: 0.08 })
  const limitsAt = (factor: number): PlanLimits => ({
    sites: new Map(sites.map((site) => [site, limit(factor * 50 * 250_000)])),
    gateways: new Map(
      masts.map((id, m) => [id, { ...limit(factor * 460 * 250_000), sites: sites.slice(10 * m, 10 * m + 10) }]),
    ),
    power: limit(slots * 3500),
    carbon: limit(slots * 3500 * 270),
  })
  const cache = new SlotCache()
  const solver = new FleetSolver(true)
  const plan = (before?: Plan) => {
    const prepared = cache.prepare(inputs)
    return { prepared, plan: planPrepared(prepared, limitsAt(1), before?.prices, { solver, wholeGap: before?.gap }) }
  }
  const first = time(() => plan())
  inputs = inputs.map((input, i) => ({
    ...input,
    planned: first.result.plan.slots[i]!.chosen.configuration,
    estimate: estimateOf(),
  }))
  const next = time(() => plan(first.result.plan))
  inputs = inputs.map((input, i) => ({
    ...input,
    planned: next.result.plan.slots[i]!.chosen.configuration,
  }))
  let { prepared, plan: now } = plan(next.result.plan)
  const ones = Array.from({ length: CHANGES }, (_, k) => {
    const at = (7 + 137 * k) % slots
    inputs = inputs.with(at, { ...inputs[at]!, estimate: estimateOf() })
    const { ms, result } = time(() => plan(now))
    prepared = result.prepared
    now = result.plan
    return ms
  })
  const oneMs = ones.sort((a, b) => a - b)[CHANGES >>> 1]!
  const whatIf = time(() => {
    const after = choosePlan(prepared, limitsAt(0.8), now.prices)
    return comparePlans({ now, slots: prepared, after }, 100)
  })
  return {
    slots,
    firstMs: first.ms,
    nextMs: next.ms,
    oneMs,
    whatIfMs: whatIf.ms,
    changed: whatIf.result.slots.changed,
    gapPct: 100 * now.gap,
  }
}
