import type { BudgetRow, FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { BudgetBar } from '../../parts/budget-bar.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

const nameOf = (key: string): string => (key === 'fleet' ? 'Power of the fleet' : `Uplink of ${key.slice(5)}`)

/** What a little more of a budget would be worth. */
function describePrice({ price = 0, unit }: BudgetRow): string {
  if (price === 0) return 'not scarce'
  return unit === 'W'
    ? `1 W more is worth ${format.utility(price)} utility`
    : `1 kbit/s more is worth ${format.utility(1000 * price)} utility`
}

function Row({ row }: { row: BudgetRow }) {
  const say = row.unit === 'W' ? format.power : format.rate
  return (
    <li>
      <div class="row">
        <strong>{nameOf(row.key)}</strong>
        {row.isKept === false ? <Status kind="attention" text="cannot be kept" /> : null}
        <span class="budget-use">
          {say(row.used)}{' '}
          {row.total === undefined ? (
            <span class="muted">no budget</span>
          ) : (
            <span class="muted">of {say(row.total)}</span>
          )}
        </span>
      </div>
      {row.total === undefined ? null : (
        <BudgetBar used={row.used} total={row.total} planned={row.planned} reserved={row.reserved} />
      )}
      {row.total === undefined ? null : (
        <span class="muted small">
          {describePrice(row)}
          {row.planned === undefined ? '' : `; planned ${say(row.planned)}, kept free ${say(row.margin)}`}
        </span>
      )}
    </li>
  )
}

/** Budgets against use, with what more of each would be worth; the scarcest first. */
export function ScarcePanel({ summary }: { summary: FleetSummary }) {
  return (
    <Panel
      title="Budgets and prices"
      aside={
        <a class="small" href="#/plan">
          Edit budgets
        </a>
      }
    >
      <ul class="budget-rows">
        <Row row={summary.power} />
        {summary.tightest.map((row) => (
          <Row key={row.key} row={row} />
        ))}
      </ul>
      {summary.sites > summary.tightest.length ? (
        <p class="muted small">
          {summary.tightest.length} of {summary.sites} sites: the scarcest.
        </p>
      ) : null}
    </Panel>
  )
}
