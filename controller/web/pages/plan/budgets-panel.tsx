import { useState } from 'preact/hooks'
import type { FleetMap, FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { Heads } from '../../parts/heads.tsx'
import { Panel } from '../../parts/panel.tsx'
import * as format from '../../state/format.ts'
import { type BudgetBody, type BudgetField, fieldsOf, nameOfKey, withField } from './budget-fields.ts'

/** More rows than this are searched, not scrolled. */
const SHOWN = 60

interface Row {
  readonly key: string
  readonly used: Partial<Record<BudgetField['field'], string>>
  readonly price: string
  /** Scarce ones first. */
  readonly rank: number
}

function rowsOf(
  present: ReadonlyMap<string, BudgetBody>,
  sites: FleetMap['groups'],
  summary: FleetSummary | undefined,
): Row[] {
  const fleet: Row = {
    key: 'fleet',
    used: {
      powerW: format.power(summary?.fleet.powerW),
      carbonGPerH:
        summary === undefined || summary.fleet.gramsPerHour === 0
          ? format.UNKNOWN
          : `${format.grams(summary.fleet.gramsPerHour)}/h`,
    },
    price: (summary?.power.price ?? 0) === 0 ? 'not scarce' : `1 W more: ${format.utility(summary!.power.price)}`,
    rank: Number.POSITIVE_INFINITY,
  }
  const ofSites = sites.map(({ key, rateBps, budget }): Row => {
    const price = budget?.price ?? 0
    return {
      key: `site:${key}`,
      used: { rateBps: format.rate(rateBps) },
      price:
        budget?.total === undefined
          ? 'no budget'
          : price === 0
            ? 'not scarce'
            : `1 kbit/s more: ${format.utility(1000 * price)}`,
      rank: price * 1e6 + (budget?.total === undefined ? 0 : 1 + rateBps / budget.total),
    }
  })
  const known = new Set(['fleet', ...ofSites.map(({ key }) => key)])
  const others = [...present.keys()]
    .filter((key) => !known.has(key))
    .map((key): Row => ({ key, used: {}, price: '', rank: 0.5 }))
  return [fleet, ...ofSites, ...others].sort((a, b) => b.rank - a.rank || (a.key < b.key ? -1 : 1))
}

function FieldInput(props: {
  field: BudgetField
  name: string
  value: number | undefined
  present: number | undefined
  onValue: (value: number | undefined) => void
}) {
  const { field, value, present } = props
  return (
    <span class="row budget-input" data-edited={value !== present}>
      <input
        type="number"
        min="0"
        step="any"
        inputMode="decimal"
        placeholder="no budget"
        aria-label={`${props.name}, ${field.name}, ${field.unit}`}
        value={value === undefined ? '' : value / field.scale}
        onInput={(event) => {
          const { value: text, valueAsNumber } = event.currentTarget
          if (text === '') props.onValue(undefined)
          else if (valueAsNumber >= 0) props.onValue(valueAsNumber * field.scale)
        }}
      />
      <span class="muted">{field.unit}</span>
    </span>
  )
}

/** Every budget with what is used of it. Editing changes nothing until it is put in force. */
export function BudgetsPanel(props: {
  present: ReadonlyMap<string, BudgetBody>
  edits: ReadonlyMap<string, BudgetBody | undefined>
  sites: FleetMap['groups']
  summary: FleetSummary | undefined
  onEdit: (key: string, body: BudgetBody | undefined) => void
}) {
  const { present, edits, onEdit } = props
  const [search, setSearch] = useState('')
  const rows = rowsOf(present, props.sites, props.summary).filter(({ key }) =>
    key.includes(search.trim().toLowerCase()),
  )
  return (
    <Panel
      title="Budgets"
      aside={
        <label class="row small">
          <span class="muted">Search</span>
          <input
            type="search"
            value={search}
            placeholder="site or device"
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
        </label>
      }
    >
      <section class="scroll-y tall" tabIndex={0} aria-label="Budgets">
        <table>
          <thead>
            <tr>
              <th scope="col">Budget</th>
              <th scope="col" class="number">
                Used now
              </th>
              <Heads titles={['Limit', 'Worth in utility']} />
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, SHOWN).flatMap(({ key, used, price }) =>
              fieldsOf(key).map((field, i) => {
                const body = edits.has(key) ? edits.get(key) : present.get(key)
                return (
                  <tr key={`${key} ${field.field}`}>
                    <th scope="row">
                      {nameOfKey(key)} <span class="muted">{field.name}</span>
                    </th>
                    <td class="number">{used[field.field] ?? format.UNKNOWN}</td>
                    <td>
                      <FieldInput
                        field={field}
                        name={nameOfKey(key)}
                        value={body?.[field.field]}
                        present={present.get(key)?.[field.field]}
                        onValue={(value) => onEdit(key, withField(body, field.field, value))}
                      />
                    </td>
                    <td class="small">{i === 0 ? price : ''}</td>
                  </tr>
                )
              }),
            )}
          </tbody>
        </table>
      </section>
      {rows.length > SHOWN ? (
        <p class="muted small">
          {SHOWN} of {format.count(rows.length)}, the scarcest: search for others.
        </p>
      ) : null}
    </Panel>
  )
}
