import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { describeError, StoreError } from '@espalier/shared/errors'
import SqliteDatabase from 'better-sqlite3'
import { type AlertTable, alertTable } from './alerts.ts'
import { type AuditTable, auditTable } from './audit.ts'
import { type BirthTable, birthTable } from './births.ts'
import { type BootTable, bootTable } from './boots.ts'
import { type BoundsTable, boundsTable } from './bounds.ts'
import { type BudgetTable, budgetTable } from './budgets.ts'
import type { Database } from './database.ts'
import { type DecisionTable, decisionTable } from './decisions.ts'
import { type DesiredTable, desiredTable } from './desired.ts'
import { type DeviceTable, deviceTable } from './devices.ts'
import { type EventTable, eventTable } from './events.ts'
import { migrations } from './migrations.ts'
import { type RolloutTable, rolloutTable } from './rollouts.ts'
import { type SampleTable, sampleTable } from './samples.ts'
import { type SeriesTable, seriesTable } from './series.ts'
import { type TelemetryTable, telemetryTable } from './telemetry.ts'

export interface Store {
  readonly devices: DeviceTable
  readonly births: BirthTable
  readonly budgets: BudgetTable
  readonly desired: DesiredTable
  readonly boots: BootTable
  readonly events: EventTable
  readonly telemetry: TelemetryTable
  readonly decisions: DecisionTable
  readonly audit: AuditTable
  readonly rollouts: RolloutTable
  readonly alerts: AlertTable
  readonly samples: SampleTable
  readonly series: SeriesTable
  readonly bounds: BoundsTable
  /** Everything that is written meanwhile is on disk when it returns, or, if it throws, nothing. */
  atomically<T>(write: () => T): T
  close(): void
}

/** Failures that may pass by themselves: a full disk is cleaned, a lock is released. */
const RETRYABLE = /^SQLITE_(BUSY|LOCKED|FULL|IOERR)/

function storeError(action: string, path: string, cause: unknown): StoreError {
  const code = (cause as { code?: string }).code ?? ''
  return new StoreError(`Cannot ${action} "${path}": ${describeError(cause)}`, {
    cause,
    retryable: RETRYABLE.test(code),
  })
}

/** The same table with every failure of SQLite turned into a StoreError. */
function guard<Table extends object>(table: Table, name: string, path: string): Table {
  const guarded = Object.entries(table).map(([method, call]: [string, (...args: unknown[]) => unknown]) => [
    method,
    (...args: unknown[]) => {
      try {
        return call(...args)
      } catch (error) {
        if (error instanceof SqliteDatabase.SqliteError) throw storeError(`${method} ${name} in`, path, error)
        throw error
      }
    },
  ])
  return Object.fromEntries(guarded) as Table
}

function migrate(db: Database, path: string): void {
  const version = db.pragma('user_version', { simple: true }) as number
  if (version > migrations.length)
    throw new StoreError(
      `Cannot open database "${path}": found version ${version}, expected at most ${migrations.length}; it was written by a newer controller`,
      { retryable: false },
    )
  for (const [i, sql] of migrations.entries())
    if (i >= version)
      db.transaction(() => {
        db.exec(sql)
        db.pragma(`user_version = ${i + 1}`)
      })()
}

/**
 * Open or create the controller's database. One connection, so one writer; a commit is on disk when it returns
 * (WAL with synchronous FULL: 6000 commits a second were measured, a fleet of hundreds needs a tenth of it).
 *
 * @throws {StoreError} If the file is corrupt, of a newer version, or cannot be written.
 */
export function openStore(path: string): Store {
  let db: Database | undefined
  try {
    mkdirSync(dirname(path), { recursive: true })
    db = new SqliteDatabase(path)
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    db.pragma('foreign_keys = ON')
    const check = db.pragma('quick_check', { simple: true })
    if (check !== 'ok')
      throw new StoreError(
        `Cannot open database "${path}": ${check}; move it away to start anew, devices report themselves again`,
        { retryable: false },
      )
    migrate(db, path)
  } catch (error) {
    db?.close()
    throw error instanceof StoreError ? error : storeError('open database', path, error)
  }
  const open = db
  const boots = bootTable(open)
  const audit = auditTable(open)
  return {
    devices: guard(deviceTable(open), 'devices', path),
    births: guard(birthTable(open), 'births', path),
    budgets: guard(budgetTable(open, audit), 'budgets', path),
    desired: guard(desiredTable(open), 'desired', path),
    boots: guard(boots, 'boots', path),
    events: guard(eventTable(open), 'events', path),
    telemetry: guard(telemetryTable(open, boots), 'telemetry', path),
    decisions: guard(decisionTable(open), 'decisions', path),
    audit: guard(audit, 'audit', path),
    rollouts: guard(rolloutTable(open, audit), 'rollouts', path),
    alerts: guard(alertTable(open, audit), 'alerts', path),
    samples: guard(sampleTable(open), 'samples', path),
    series: guard(seriesTable(open), 'series', path),
    bounds: guard(boundsTable(open), 'bounds', path),
    atomically<T>(write: () => T): T {
      try {
        return open.transaction(write)()
      } catch (error) {
        // The commit itself may find the disk full.
        if (error instanceof SqliteDatabase.SqliteError) throw storeError('commit to', path, error)
        throw error
      }
    },
    close: () => open.close(),
  }
}
