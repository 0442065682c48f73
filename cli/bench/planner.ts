import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { changeSlot } from '@espalier/controller/solver/change-slot'
import type { FleetColumns } from '@espalier/controller/solver/columns'
import { type Solved, solveAgain, solveTables } from '@espalier/controller/solver/solve-fleet'
import { makeTables } from '@espalier/controller/solver/tables'
import { MODELS_DIR } from '../models.ts'
import { startProgress } from '../progress.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'
import { type ControllerPlanResult, measureController } from './controller-plan.ts'
import type { HighsComparison } from './highs-process.ts'
import { measureProduction, type ProductionResult } from './production-plan.ts'
import { makeSampleFleet } from './sample-fleet.ts'
import { seededRandom } from './seeded-random.ts'

const HIGHS_PROCESS = new URL('./highs-process.js', import.meta.url)
const SEEDS = 20
const SIZES = [100, 1000, 10_000, 100_000]
const PER_SITE = 50
/** Warm: every uplink and the fleet's power move by up to so much since the plan before. */
const DRIFT = 0.02
const TIMED_RUNS = 15
/** The first runs are compiled while they run; a controller has been running for a while. */
const UNTIMED_RUNS = 5
const CHANGES = 2000
/** The controller plans so often unless it is configured otherwise. */
const PLAN_INTERVAL_S = 2

interface SizeResult {
  readonly slots: number
  readonly seeds: number
  readonly meanGapPct: number
  readonly maxGapPct: number
  readonly meanIntegerGapPct: number
  readonly violations: number
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >>> 1]!
}

/** CPU time of this process, ms: what else the machine does counts less than on a clock. */
function time<T>(run: () => T): { ms: number; result: T } {
  const from = process.cpuUsage()
  const result = run()
  const { user, system } = process.cpuUsage(from)
  return { ms: (user + system) / 1000, result }
}

/** Limits that a plan exceeds, counted from the columns alone. */
function countViolations({ limits, siteOf, ...columns }: FleetColumns, { tables, ledger }: Solved): number {
  const rates = new Float64Array(limits.siteRateBps.length)
  let powerMw = 0
  for (let k = 0; k < ledger.choice.length; k++) {
    const slot = tables.slotAt[k]!
    const at = columns.start[slot]! + tables.option[ledger.choice[k]!]!
    rates[siteOf[slot]!]! += columns.rateBps[at]!
    powerMw += columns.powerMw[at]!
  }
  return rates.filter((rate, s) => rate > limits.siteRateBps[s]!).length + (powerMw > limits.powerMw ? 1 : 0)
}

function measureSize(slots: number, onSeed: () => void): SizeResult {
  const gaps: number[] = []
  const integerGaps: number[] = []
  let violations = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const fleet = makeSampleFleet({ slots, perSite: PER_SITE, seed })
    const solved = solveTables(makeTables(fleet))
    gaps.push((100 * (solved.bound - solved.ledger.value)) / solved.bound)
    integerGaps.push((100 * (solved.integerBound - solved.ledger.value)) / solved.bound)
    violations += countViolations(fleet, solved)
    onSeed()
  }
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  return {
    slots,
    seeds: SEEDS,
    meanGapPct: mean(gaps),
    maxGapPct: Math.max(...gaps),
    meanIntegerGapPct: mean(integerGaps),
    violations,
  }
}

/** Every limit of a fleet a little off. */
function drift(fleet: FleetColumns, seed: number): FleetColumns {
  const random = seededRandom(seed)
  const move = (limit: number) => Math.floor(limit * (1 + DRIFT * (2 * random() - 1)))
  const { siteRateBps, powerMw } = fleet.limits
  return { ...fleet, limits: { ...fleet.limits, siteRateBps: siteRateBps.map(move), powerMw: move(powerMw) } }
}

/** Cold: from columns to plan. Warm: limits moved, prices and pruned tables of before at hand. */
function measureSpeed(slots: number) {
  const cold: number[] = []
  const warm: number[] = []
  for (let run = 1 - UNTIMED_RUNS; run <= TIMED_RUNS; run++) {
    const fleet = makeSampleFleet({ slots, perSite: PER_SITE, seed: run + UNTIMED_RUNS })
    const first = time(() => solveTables(makeTables(fleet)))
    cold.push(first.ms)
    const { limits } = drift(fleet, run)
    warm.push(time(() => solveAgain(first.result, limits)).ms)
  }
  const timed = (all: number[]) => median(all.slice(UNTIMED_RUNS))
  return { slots, coldMs: timed(cold), warmMs: timed(warm) }
}

/** One slot's rates rise or fall by a tenth, again and again, in one fleet. */
function measureChanges() {
  const fleet = makeSampleFleet({ slots: 10_000, perSite: PER_SITE, seed: 1 })
  let solved = solveTables(makeTables(fleet))
  const random = seededRandom(2)
  const spent: number[] = []
  let [moved, resolved] = [0, 0]
  for (let i = 0; i < CHANGES; i++) {
    const slot = Math.floor(random() * fleet.siteOf.length)
    const factor = random() < 0.5 ? 1.1 : 1 / 1.1
    const of = (column: Float64Array) => column.slice(fleet.start[slot]!, fleet.start[slot + 1]!)
    const options = {
      rateBps: of(fleet.rateBps).map((rate) => Math.ceil(rate * factor)),
      powerMw: of(fleet.powerMw),
      utility: of(fleet.utility),
    }
    const { ms, result } = time(() => changeSlot(solved, slot, options))
    spent.push(ms)
    if (result === undefined) {
      resolved++
      solved = solveTables(solved.tables, solved.prices)
    } else moved += result.length
  }
  const gapPct = (100 * (solved.bound - solved.ledger.value)) / solved.bound
  const sorted = [...spent].sort((a, b) => a - b)
  return {
    changes: CHANGES,
    medianMs: median(spent),
    p99Ms: sorted[Math.floor(0.99 * CHANGES)]!,
    meanMoved: moved / (CHANGES - resolved),
    resolved,
    gapPctAfterAll: gapPct,
  }
}

/** The same fleets by HiGHS; undefined where it is not installed. */
async function compareWithHighs(slots: readonly number[]): Promise<HighsComparison[] | undefined> {
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, [fileURLToPath(HIGHS_PROCESS), ...slots.map(String)])
  return JSON.parse(stdout) ?? undefined
}

function toPage(sizes: readonly SizeResult[], production: ProductionResult, controller: ControllerPlanResult): string {
  return [
    '| slots | seeds | mean gap | largest gap | to the integer bound |',
    '|---|---|---|---|---|',
    ...sizes.map(
      (s) =>
        `| ${s.slots} | ${s.seeds} | ${s.meanGapPct.toFixed(4)} % | ${s.maxGapPct.toFixed(4)} % | ${s.meanIntegerGapPct.toFixed(4)} % |`,
    ),
    '',
    `The controller's own plan of ${production.slots} slots (hundreds of configurations each, uplinks, gateways, power and carbon):`,
    '',
    '| what | ms of CPU |',
    '|---|---|',
    `| from births and estimates to ladders, leases and reasons, the first time | ${production.firstMs.toFixed(0)} |`,
    `| after telemetry of every slot | ${production.nextMs.toFixed(0)} |`,
    `| after telemetry of one slot | ${production.oneMs.toFixed(0)} |`,
    `| what if all uplinks had a fifth less | ${production.whatIfMs.toFixed(0)} |`,
    `| one turn of the controller after telemetry of one device | ${controller.oneMs.toFixed(0)} |`,
    `| one turn of the controller after telemetry of every device: budgets, margins, plan, and the commit and capsules of ${controller.changed} devices | ${controller.replanMs.toFixed(0)} |`,
    '',
  ].join('\n')
}

/** Hold the planner to its targets on seeded random fleets (`makeSampleFleet`). */
export async function benchPlanner(): Promise<Findings> {
  const progress = startProgress('planner')
  let done = 0
  try {
    const speed = [10_000, 100_000].map(measureSpeed)
    const changes = measureChanges()
    const production = await measureProduction(10_000, MODELS_DIR, time)
    const controller = await measureController(10_000, MODELS_DIR)
    const rivals = await compareWithHighs([100, 1000])
    const sizes = SIZES.map((slots) => measureSize(slots, () => progress.update(++done, SIZES.length * SEEDS)))
    const [ten, hundred] = speed
    const checks: Check[] = [
      ...sizes.flatMap((s) => [
        atMost(`gap to the LP bound, ${s.slots} slots, mean of ${SEEDS} seeds`, s.meanGapPct, 0.05, '%'),
        atMost(`gap to the LP bound, ${s.slots} slots, largest`, s.maxGapPct, 0.1, '%'),
      ]),
      atMost(
        'budget violations in all plans',
        sizes.reduce((sum, s) => sum + s.violations, 0),
        0,
        '',
      ),
      atMost('10,000 slots x 24, cold', ten!.coldMs, 100, 'ms of CPU'),
      atMost('10,000 slots x 24, warm', ten!.warmMs, 30, 'ms of CPU'),
      atMost('100,000 slots x 24, cold', hundred!.coldMs, 1000, 'ms of CPU'),
      ...(rivals ?? []).map((r) =>
        atMost(`dual against HiGHS, ${r.slots} slots, relative difference`, r.difference, 1e-6, ''),
      ),
      ...(rivals?.[1] === undefined
        ? []
        : [
            atLeast('faster than HiGHS, 1,000 slots, both relaxed', rivals[1].relaxedTimes, 500, 'times'),
            atLeast('faster than HiGHS to 0.1 %, 1,000 slots, both whole plans', rivals[1].wholeTimes, 500, 'times'),
          ]),
      atMost('10,000 real slots replanned, CPU', controller.replanMs / 1000, PLAN_INTERVAL_S, 's'),
      atMost('one slot changes, median', changes.medianMs, 0.2, 'ms of CPU'),
      atMost('one slot changes, slots moved, mean', changes.meanMoved, 2, ''),
    ]
    if (rivals === undefined) process.stderr.write('SKIPPED comparison with HiGHS: it is not installed\n')
    return {
      checks,
      details: { sizes, speed, changes, production, controller, rivals },
      page: toPage(sizes, production, controller),
    }
  } finally {
    progress.stop()
  }
}
