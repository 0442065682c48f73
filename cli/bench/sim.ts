import { runSeeds } from '@espalier/controller/sim/run-seeds'
import type { SeedResult } from '@espalier/controller/sim/simulate'
import { meanOf, type PolicySummary, summarise } from '@espalier/controller/sim/summarise'
import { plotPolicies } from '../plot-policies.ts'
import { barsOf } from '../policy-bars.ts'
import { startProgress } from '../progress.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'
import { describeTraces, simulateTraces } from './sim-traces.ts'

const SCALE = { devices: 200, hours: 4 }
const SEEDS = [1, 2, 3, 4, 5]
/** Of section 'Policies': the protocol's, and one that may choose more. */
const STATIC_RIVALS = ['static-best', 'static-best-sites']
const COMPARED = ['ours', ...STATIC_RIVALS, 'alert-like', 'equal-share', 'lyapunov', 'ladder', 'buffer']

function checkPolicies(policies: readonly PolicySummary[]): Check[] {
  const of = (name: string) => policies.find(({ policy }) => policy === name)!
  const [ours, alert] = [of('ours'), of('alert-like')]
  return [
    atMost('site violations', 100 * ours.siteViolations.mean, 0.5, '% of site-epochs'),
    atMost('avoidable site violations', 100 * ours.avoidableViolations.mean, 0.1, '% of site-epochs'),
    atMost('fleet power violations', 100 * ours.powerViolations.mean, 0.1, '% of epochs'),
    atMost('late frames', 100 * ours.late.mean, 0.1, '%'),
    atLeast('utility against the clairvoyant with free changes', ours.utilityPct.mean, 95, '%'),
    atLeast('utility above ALERT-like equal share', ours.utilityPct.mean - alert.utilityPct.mean, 12, 'points'),
    atMost('model reloads', ours.reloads.mean, 4, '/h and device'),
  ]
}

function checkCalibration(seeds: readonly SeedResult[]): Check[] {
  const missed = 100 * meanOf(seeds.map(({ calibration }) => calibration.missed)).mean
  const saved = seeds.map(({ calibration: { margin, averageMargin } }) => 100 * (1 - margin / averageMargin))
  return [
    atLeast('latency bound of nominal 1 %, missed', missed, 0.5, '%'),
    atMost('latency bound of nominal 1 %, missed', missed, 1.5, '%'),
    atLeast('latency margin smaller than that of a moving average', meanOf(saved).mean, 20, '%'),
  ]
}

/** The target is one of two: more utility at the same limits, or less power at the same utility. The third row says whether. */
function checkStatic(rival: string, policies: readonly PolicySummary[], seeds: readonly SeedResult[]): Check[] {
  const of = (name: string) => policies.find(({ policy }) => policy === name)!.utilityPct.mean
  const saved = seeds.map(({ policies: results, equalUtilityW }) => {
    const { powerW } = results.find(({ policy }) => policy === rival)!
    return 100 * (1 - equalUtilityW[rival]! / powerW)
  })
  const points = of('ours') - of(rival)
  const savedPct = meanOf(saved).mean
  return [
    atLeast(`utility above ${rival} in hindsight, at the same limits`, points, 12, 'points'),
    atLeast(`or: less fleet power than ${rival} at its utility`, savedPct, 20, '%'),
    atLeast(`the better of these two against ${rival}`, Math.max(points / 12, savedPct / 20), 1, 'of its limit'),
  ]
}

function describePolicies(policies: readonly PolicySummary[]): string {
  const pct = (share: number, digits: number) => (100 * share).toFixed(digits)
  const rows = policies.map(
    (p) =>
      `| ${p.policy} | ${p.utilityPct.mean.toFixed(1)} ± ${p.utilityPct.halfWidth?.toFixed(1)} | ${p.powerW.mean.toFixed(0)} | ${pct(p.siteViolations.mean, 2)} (${pct(p.avoidableViolations.mean, 3)}) | ${pct(p.powerViolations.mean, 2)} | ${pct(p.late.mean, 3)} | ${p.reloads.mean.toFixed(1)} | ${p.switches.mean.toFixed(1)} |`,
  )
  return [
    '| policy | utility % (± 95 %) | power W | site violations % (avoidable) | power violations % | late % | reloads /h | changes /h |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

/** The simulator's rows of docs/simulator.md. */
export async function benchSim(dataDir: string): Promise<Findings> {
  const progress = startProgress('simulating')
  const seeds = await runSeeds(
    SEEDS,
    { options: { ...SCALE, policies: COMPARED, powerRivals: STATIC_RIVALS }, traces: [] },
    progress.update,
  ).finally(progress.stop)
  const policies = summarise(seeds)
  const traceDriven = await simulateTraces(dataDir)
  return {
    checks: [
      ...checkPolicies(policies),
      ...STATIC_RIVALS.flatMap((rival) => checkStatic(rival, policies, seeds)),
      ...checkCalibration(seeds),
    ],
    details: { ...SCALE, seeds: SEEDS, policies, results: seeds, traceDriven: traceDriven ?? 'skipped' },
    page: [describePolicies(policies), describeTraces(traceDriven)].join('\n'),
    plots: {
      'utility.svg': plotPolicies(
        `${SCALE.devices} simulated devices, ${SCALE.hours} h, seeds ${SEEDS}`,
        barsOf(policies),
      ),
    },
  }
}
