import type { WhatIf } from '../../../api/routes/what-if.ts'
import { Heads } from '../../parts/heads.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { type Column, VirtualList } from '../../parts/virtual-list.tsx'
import * as format from '../../state/format.ts'
import { linkTo } from '../../state/router.ts'
import { nameOfKey } from './budget-fields.ts'
import type { WhatIfState } from './use-what-if.ts'

type Change = WhatIf['changes'][number]

const COLUMNS = [
  { key: 'slot', title: 'Slot', width: 'minmax(100px, 0.6fr)' },
  { key: 'now', title: 'Runs', width: 'minmax(144px, 1.6fr)', isWrapped: true },
  { key: 'after', title: 'Would run', width: 'minmax(144px, 1.6fr)', isWrapped: true },
  { key: 'psnrDb', title: 'Quality', width: '64px', isNumber: true },
  { key: 'rateBps', title: 'Rate', width: '94px', isNumber: true },
  { key: 'powerW', title: 'Power', width: '72px', isNumber: true },
] as const satisfies readonly Column<string>[]

/** Three lines: a configuration's name takes two, and one with a long variant three. */
const ROW_PX = 54

function cell(change: Change, key: (typeof COLUMNS)[number]['key']) {
  switch (key) {
    case 'slot':
      return <a href={linkTo(['device', change.device], { slot: change.slot })}>{`${change.device}/${change.slot}`}</a>
    case 'now':
    case 'after':
      return (
        <span class="mono" title={change[key].configurationId}>
          {format.shortConfiguration(change[key].configurationId)}
        </span>
      )
    case 'psnrDb':
      return change.accuracyPct === undefined
        ? format.signed(format.decibels)(change.psnrDb)
        : format.signed(format.accuracy)(change.accuracyPct)
    case 'rateBps':
      return format.signed(format.rate)(change.rateBps)
    case 'powerW':
      return format.signed(format.power)(change.powerW)
  }
}

function Totals({ now, after: then }: Pick<WhatIf, 'now' | 'after'>) {
  const rows: [string, (value: number | undefined) => string, number | undefined, number | undefined][] = [
    ['Utility', format.utility, now.value, then.value],
    ...(now.psnrDb === undefined && now.accuracyPct !== undefined
      ? []
      : [['Mean quality', format.decibels, now.psnrDb, then.psnrDb] as (typeof rows)[number]]),
    ...(now.accuracyPct === undefined
      ? []
      : [['Mean accuracy', format.accuracy, now.accuracyPct, then.accuracyPct] as (typeof rows)[number]]),
    ['Rate, planned', format.rate, now.rateBps, then.rateBps],
    ['Power, planned', format.power, now.powerW, then.powerW],
    ...(now.carbonGPerH + then.carbonGPerH > 0
      ? [
          [
            'Carbon, planned',
            (v: number | undefined) => `${format.grams(v)}/h`,
            now.carbonGPerH,
            then.carbonGPerH,
          ] as (typeof rows)[number],
        ]
      : []),
    ['Gap to the optimum', format.percent, now.gap, then.gap],
  ]
  return (
    <section class="scroll-x" tabIndex={0} aria-label="The fleet, now and then">
      <table>
        <thead>
          <tr>
            <th scope="col">The fleet</th>
            <Heads titles={['In force', 'Then', 'Difference']} isNumber />
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, say, before, after]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{say(before)}</td>
              <td class="number">{say(after)}</td>
              <td class="number">
                {before === undefined || after === undefined ? format.UNKNOWN : format.signed(say)(after - before)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function Rows({ rows }: Pick<WhatIf, 'rows'>) {
  const changed = rows.filter(({ now, after }) => JSON.stringify(now) !== JSON.stringify(after))
  if (changed.length === 0) return null
  return (
    <ul class="small changes">
      {changed.slice(0, 12).map(({ key, now, after }) => (
        <li key={key}>
          <strong>{key.includes(':') ? nameOfKey(key) : `The fleet, ${key}`}</strong>
          <span>
            {after === undefined ? 'no budget any more' : `${after.isKept ? 'kept' : 'cannot be kept'}; ${after.worth}`}
            {now === undefined || after === undefined ? '' : ` (in force: ${now.worth})`}
          </span>
        </li>
      ))}
    </ul>
  )
}

/** What each device would do under the edited budgets, and what it would cost or bring. */
export function WhatIfPanel({ whatIf, isEdited }: { whatIf: WhatIfState; isEdited: boolean }) {
  const { data, failure, isRunning } = whatIf
  return (
    <Panel
      title="What if"
      aside={
        <span class="muted small" role="status">
          {isRunning
            ? 'asking the planner'
            : data === undefined
              ? ''
              : `planned in ${format.milliseconds(data.tookMs)}`}
        </span>
      }
    >
      {isEdited ? null : (
        <p class="muted">
          Edit a budget to see what each device would do under it. Nothing is sent until you put it in force.
        </p>
      )}
      {failure === undefined ? null : (
        <Note kind="attention">
          {failure.status === 404 ? 'This controller cannot say beforehand what a budget would do.' : failure.message}
        </Note>
      )}
      {data === undefined ? null : (
        <div class="stack">
          <Totals now={data.now} after={data.after} />
          <Rows rows={data.rows} />
          {data.alarms
            .filter(({ isNew }) => isNew)
            .slice(0, 10)
            .map(({ kind, subject, message }) => (
              <Note key={`${kind} ${subject}`} kind="attention">
                {message}
              </Note>
            ))}
          <h3>
            {format.count(data.slots.changed)} of {format.count(data.slots.total)} slots would change
          </h3>
          {data.changes.length === 0 ? null : (
            <VirtualList
              label="Slots that would change"
              columns={COLUMNS}
              total={data.changes.length}
              itemAt={(index) => data.changes[index]}
              cell={cell}
              height={Math.min(360, 34 + ROW_PX * data.changes.length)}
              minWidth={670}
              rowPx={ROW_PX}
            />
          )}
        </div>
      )}
    </Panel>
  )
}
