import type { BudgetRow, FleetMap, FleetSummary } from '../api/routes/fleet-schemas.ts'
import type { Fleet } from '../ingest/fleet.ts'
import type { Plan } from '../plan/plan-fleet.ts'
import type { Budget } from '../store/budgets.ts'
import type { DeviceRow } from './device-row.ts'
import { type Group, groupRows, summarise } from './group-rows.ts'

export interface FleetFacts {
  readonly rows: readonly DeviceRow[]
  readonly plan: Plan | undefined
  readonly budgets: ReadonlyMap<string, Budget>
  readonly fleet: Fleet
}

const TIGHTEST = 8
const MAX_ALARMS = 50
const MAX_LABELS = 20

/** What a row of devices is grouped under. */
export function keyOfRow(by: string, fleet: Fleet): (row: DeviceRow) => string | undefined {
  if (by.startsWith('label:')) return ({ id }) => fleet.get(id)?.birth?.labels[by.slice(6)]
  return (row) => row[by as 'site' | 'deviceClass' | 'family' | 'variant']
}

function countBy<Item>(items: readonly Item[], keyOf: (item: Item) => string | undefined): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) {
    const key = keyOf(item)
    if (key !== undefined) counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

function powerRow({ plan, budgets }: FleetFacts, usedW: number): BudgetRow {
  const total = budgets.get('fleet')?.powerW
  const row = plan?.power
  return {
    key: 'fleet',
    unit: 'W',
    used: usedW,
    ...(total === undefined ? {} : { total }),
    ...(row === undefined
      ? {}
      : {
          planned: row.planned / 1000,
          margin: row.margin / 1000,
          reserved: row.reserved / 1000,
          isKept: row.isKept,
          price: row.mu,
        }),
  }
}

function siteRow(site: string, { plan, budgets }: FleetFacts, usedBps: number): BudgetRow {
  const total = budgets.get(`site:${site}`)?.rateBps
  const row = plan?.sites.get(site)
  return {
    key: `site:${site}`,
    unit: 'bit/s',
    used: usedBps,
    ...(total === undefined ? {} : { total }),
    ...(row === undefined
      ? {}
      : { planned: row.planned, margin: row.margin, reserved: row.reserved, isKept: row.isKept, price: row.lambda }),
  }
}

/** Prices first: they say that more would be of use; then how full it is. */
const tightness = (row: BudgetRow): number =>
  (row.price ?? 0) * (row.total ?? 0) * 1e3 + (row.total === undefined ? 0 : row.used / row.total)

/** Names of labels that devices carry, the commonest first. */
function labelNames(rows: readonly DeviceRow[], fleet: Fleet): string[] {
  const counts = new Map<string, number>()
  for (const { id } of rows)
    for (const name of Object.keys(fleet.get(id)?.birth?.labels ?? {})) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MAX_LABELS)
    .map(([name]) => `label:${name}`)
}

/** The first thing that a page shows: everything in a few numbers. */
export function summariseFleet(facts: FleetFacts, atMs: number, changesLastHour: number): FleetSummary {
  const { rows, plan, fleet } = facts
  const all = summarise('fleet', rows)
  const sites = groupRows(rows, ({ site }) => site)
  const siteRows = sites.map((group) => siteRow(group.key, facts, group.rateBps))
  return {
    atMs,
    fleet: all,
    byScope: countBy(rows, ({ energyScope }) => energyScope),
    byUpdate: countBy(rows, ({ update }) => update),
    ...(plan === undefined
      ? {}
      : {
          plan: {
            value: plan.value,
            bound: plan.bound,
            integerBound: plan.integerBound,
            gap: plan.gap,
            slots: plan.slots.length,
          },
        }),
    power: powerRow(facts, all.powerW),
    tightest: siteRows.sort((a, b) => tightness(b) - tightness(a)).slice(0, TIGHTEST),
    sites: sites.length,
    changesLastHour,
    alarms: plan?.alarms.slice(0, MAX_ALARMS) ?? [],
    alarmCount: plan?.alarms.length ?? 0,
    groupings: ['site', 'deviceClass', 'family', 'variant', ...labelNames(rows, fleet)],
  }
}

export function mapFleet(facts: FleetFacts, by: string): FleetMap {
  const groups = groupRows(facts.rows, keyOfRow(by, facts.fleet))
  const withBudget = (group: Group) => ({ ...group, budget: siteRow(group.key, facts, group.rateBps) })
  return { by, groups: by === 'site' ? groups.map(withBudget) : groups }
}
