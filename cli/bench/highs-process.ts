import { findFleetPrices } from '@espalier/controller/solver/fleet-price'
import { Relaxer } from '@espalier/controller/solver/relax'
import { solveTables } from '@espalier/controller/solver/solve-fleet'
import { makeTables, type Tables } from '@espalier/controller/solver/tables'
import { formatLp } from './lp-text.ts'
import { makeSampleFleet } from './sample-fleet.ts'

// Both solvers in a process of their own, so that neither is measured in the heap that the rest of a bench leaves.
// Arguments: numbers of slots. Writes an array of HighsComparison, or null where HiGHS is not installed.

export interface HighsComparison {
  readonly slots: number
  readonly highs: {
    readonly relaxedMs: number
    readonly wholeMs: number
    readonly status: string
    readonly value: number
  }
  readonly own: { readonly relaxedMs: number; readonly wholeMs: number; readonly value: number }
  readonly relaxedTimes: number
  readonly wholeTimes: number
  readonly difference: number
}

interface Highs {
  solve(lp: string, options?: object): { Status: string; ObjectiveValue: number }
}

const PER_SITE = 50
/** The first runs of either are compiled while they run: of HiGHS' three, the median is not the first. */
const HIGHS_RUNS = 3
const OWN_RUNS = { untimed: 100, timed: 100 }

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >>> 1]!
}

/** Runs one after another. @returns The median CPU time of this process, ms, and the last answer. */
function time<T>({ untimed, timed }: { untimed: number; timed: number }, run: () => T): { ms: number; result: T } {
  const spent: number[] = []
  let result = undefined as T
  for (let i = 0; i < untimed + timed; i++) {
    const from = process.cpuUsage()
    result = run()
    const { user, system } = process.cpuUsage(from)
    if (i >= untimed) spent.push((user + system) / 1000)
  }
  return { ms: median(spent), result }
}

/** Relaxed, and in whole choices to 0.1 %. Text is not in HiGHS' time, tables are in ours. */
function compare(highs: Highs, slots: number): HighsComparison {
  const fleet = makeSampleFleet({ slots, perSite: PER_SITE, seed: 1 })
  let tables: Tables | undefined
  let relaxer: Relaxer | undefined
  // Memory is used again, answers are not.
  const relax = () => {
    tables = makeTables(fleet, { isPruned: false, room: tables })
    relaxer = new Relaxer(tables, relaxer)
    return findFleetPrices(tables, relaxer)
  }
  const ownRelaxed = time(OWN_RUNS, relax)
  const ownWhole = time(OWN_RUNS, () => solveTables(makeTables(fleet)))
  const lp = formatLp(fleet, false)
  const relaxed = time({ untimed: 0, timed: HIGHS_RUNS }, () => highs.solve(lp))
  const wholeLp = formatLp(fleet, true)
  const whole = time({ untimed: 0, timed: 1 }, () => highs.solve(wholeLp, { mip_rel_gap: 1e-3, time_limit: 120 }))
  const dual = relaxed.result.ObjectiveValue
  return {
    slots,
    highs: {
      relaxedMs: relaxed.ms,
      wholeMs: whole.ms,
      status: whole.result.Status,
      value: whole.result.ObjectiveValue,
    },
    own: { relaxedMs: ownRelaxed.ms, wholeMs: ownWhole.ms, value: ownWhole.result.ledger.value },
    relaxedTimes: relaxed.ms / ownRelaxed.ms,
    wholeTimes: whole.ms / ownWhole.ms,
    difference: Math.abs(ownRelaxed.result.bound - dual) / dual,
  }
}

const load = await import('highs').then(
  (m) => m.default as unknown as () => Promise<Highs>,
  () => undefined,
)
const highs = await load?.()
const results = highs && process.argv.slice(2).map((slots) => compare(highs, Number(slots)))
process.stdout.write(JSON.stringify(results ?? null))
