import type BetterSqlite3 from 'better-sqlite3'

export type Database = BetterSqlite3.Database

/** The same function inside one transaction: all of it is on disk when it returns, or none of it. */
export function inTransaction<Args extends unknown[], Result>(
  db: Database,
  work: (...args: Args) => Result,
): (...args: Args) => Result {
  return db.transaction(work)
}
