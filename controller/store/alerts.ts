import { z } from 'zod'
import type { AlertEvent, AlertState } from '../alert/evaluate-rules.ts'
import { type Rule, ruleBodySchema, SEVERITIES } from '../alert/rule.ts'
import type { AuditNote, AuditTable } from './audit.ts'
import { type Database, inTransaction } from './database.ts'
import { parseColumn } from './json-column.ts'

export type StoredAlertEvent = AlertEvent & { readonly id: number; readonly atMs: number }

/** Something that was, or is to be, sent to one target. */
export interface Delivery {
  readonly id: number
  readonly createdMs: number
  /** `https://...` or `mailto:...` */
  readonly target: string
  readonly state: 'waiting' | 'delivered' | 'failed'
  readonly attempts: number
  /** When it is tried next. */
  readonly nextMs: number
  /** Why the last attempt failed. */
  readonly reason?: string | undefined
  readonly events: readonly StoredAlertEvent[]
}

/** What one evaluation changed. */
export interface AlertChange {
  readonly saved: readonly AlertState[]
  readonly removed: readonly Pick<AlertState, 'rule' | 'subject'>[]
  readonly events: readonly AlertEvent[]
  /** Targets of a rule's events. */
  readonly targetsOf: (rule: string) => readonly string[]
  readonly atMs: number
}

export interface AlertEventFilter {
  readonly rule?: string | undefined
  readonly subject?: string | undefined
  /** Events before this id only. */
  readonly before?: number | undefined
  readonly limit: number
}

const KEPT_EVENTS = 10_000
const KEPT_DELIVERIES = 1000
/** Events of one rule that go in one message; more of them are counted in the API. */
const EVENTS_A_DELIVERY = 200

const stateSchema = z.object({
  rule: z.string(),
  subject: z.string(),
  state: z.enum(['pending', 'firing']),
  sinceMs: z.number(),
  firedMs: z.number().optional(),
  clearMs: z.number().optional(),
  readMs: z.number(),
  value: z.number().optional(),
  threshold: z.number().optional(),
})
const eventSchema = z.object({
  event: z.enum(['fired', 'resolved']),
  rule: z.string(),
  subject: z.string(),
  severity: z.enum(SEVERITIES),
  condition: z.string(),
  message: z.string(),
  value: z.number().optional(),
  threshold: z.number().optional(),
  unit: z.string().optional(),
})
const storedEventSchema = eventSchema.extend({ id: z.int(), atMs: z.number() })
const bodyRow = z.object({ body: z.string() })
const ruleRow = bodyRow.extend({ id: z.string() })
const eventRow = bodyRow.extend({ id: z.int(), at_ms: z.int() })
const deliveryRow = bodyRow.extend({
  id: z.int(),
  created_ms: z.int(),
  target: z.string(),
  state: z.enum(['waiting', 'delivered', 'failed']),
  attempts: z.int(),
  next_ms: z.int(),
  reason: z.string().nullable(),
})

export type AlertTable = ReturnType<typeof alertTable>

export function alertTable(db: Database, audit: AuditTable) {
  const putRule = db.prepare(
    'INSERT INTO alert_rules VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body',
  )
  const dropRule = db.prepare('DELETE FROM alert_rules WHERE id = ?')
  const rules = db.prepare('SELECT id, body FROM alert_rules ORDER BY id')
  const putState = db.prepare(
    'INSERT INTO alert_states VALUES (?, ?, ?) ON CONFLICT (rule, subject) DO UPDATE SET body = excluded.body',
  )
  const dropState = db.prepare('DELETE FROM alert_states WHERE rule = ? AND subject = ?')
  const dropStatesOf = db.prepare('DELETE FROM alert_states WHERE rule = ?')
  const states = db.prepare('SELECT body FROM alert_states ORDER BY rule, subject')
  const putEvent = db.prepare('INSERT INTO alert_events (at_ms, rule, subject, body) VALUES (?, ?, ?, ?)')
  const pruneEvents = db.prepare(
    `DELETE FROM alert_events WHERE id <= (SELECT max(id) FROM alert_events) - ${KEPT_EVENTS}`,
  )
  const putDelivery = db.prepare(
    "INSERT INTO alert_deliveries (created_ms, target, state, attempts, next_ms, body) VALUES (?, ?, 'waiting', 0, ?, ?)",
  )
  const pruneDeliveries = db.prepare(
    `DELETE FROM alert_deliveries WHERE state != 'waiting' AND id <= (SELECT max(id) FROM alert_deliveries) - ${KEPT_DELIVERIES}`,
  )
  const setDelivery = db.prepare(
    'UPDATE alert_deliveries SET state = ?, attempts = ?, next_ms = ?, reason = ? WHERE id = ?',
  )
  const targets = db.prepare("SELECT DISTINCT target FROM alert_deliveries WHERE state = 'waiting'")
  const waiting = db.prepare(
    "SELECT * FROM alert_deliveries WHERE state = 'waiting' AND target = ? ORDER BY id LIMIT 100",
  )
  const deliveries = db.prepare('SELECT * FROM alert_deliveries ORDER BY id DESC LIMIT ?')

  const toDelivery = (row: unknown): Delivery => {
    const { id, created_ms, target, state, attempts, next_ms, reason, body } = deliveryRow.parse(row)
    const events = parseColumn(body, z.array(storedEventSchema), 'alert_deliveries.body')
    return { id, createdMs: created_ms, target, state, attempts, nextMs: next_ms, reason: reason ?? undefined, events }
  }
  const addDelivery = (target: string, events: readonly StoredAlertEvent[], atMs: number): void => {
    putDelivery.run(Math.round(atMs), target, Math.round(atMs), JSON.stringify(events.slice(0, EVENTS_A_DELIVERY)))
  }

  return {
    rules: (): Rule[] =>
      z
        .array(ruleRow)
        .parse(rules.all())
        .map(({ id, body }) => ({ id, ...parseColumn(body, ruleBodySchema, 'alert_rules.body') })),
    saveRule: inTransaction(db, ({ id, ...body }: Rule, note: AuditNote): void => {
      putRule.run(id, JSON.stringify(body))
      audit.add(note)
    }),
    removeRule: inTransaction(db, (id: string, note: AuditNote): void => {
      dropRule.run(id)
      dropStatesOf.run(id)
      audit.add(note)
    }),
    states: (): AlertState[] =>
      z
        .array(bodyRow)
        .parse(states.all())
        .map(({ body }) => parseColumn(body, stateSchema, 'alert_states.body')),
    /** What happened, what is to be sent of it, and what is remembered: all of it, or nothing. */
    apply: inTransaction(db, ({ saved, removed, events, targetsOf, atMs }: AlertChange): StoredAlertEvent[] => {
      for (const state of saved) putState.run(state.rule, state.subject, JSON.stringify(state))
      for (const { rule, subject } of removed) dropState.run(rule, subject)
      const stored = events.map((event): StoredAlertEvent => {
        const { lastInsertRowid } = putEvent.run(Math.round(atMs), event.rule, event.subject, JSON.stringify(event))
        return { ...event, id: Number(lastInsertRowid), atMs: Math.round(atMs) }
      })
      for (const rule of new Set(stored.map((event) => event.rule)))
        for (const target of targetsOf(rule))
          addDelivery(
            target,
            stored.filter((event) => event.rule === rule),
            atMs,
          )
      if (stored.length > 0) pruneEvents.run()
      pruneDeliveries.run()
      return stored
    }),
    /** Latest first. */
    events({ rule, subject, before, limit }: AlertEventFilter) {
      const conditions: [string, unknown][] = [
        ['rule = ?', rule],
        ['subject = ?', subject],
        ['id < ?', before],
      ]
      const used = conditions.filter(([, wanted]) => wanted !== undefined)
      const where = used.length === 0 ? '' : `WHERE ${used.map(([sql]) => sql).join(' AND ')}`
      const found = db
        .prepare(`SELECT id, at_ms, body FROM alert_events ${where} ORDER BY id DESC LIMIT ?`)
        .all(...used.map(([, wanted]) => wanted), limit)
      return z
        .array(eventRow)
        .parse(found)
        .map(
          ({ id, at_ms, body }): StoredAlertEvent => ({
            ...parseColumn(body, eventSchema, 'alert_events.body'),
            id,
            atMs: at_ms,
          }),
        )
    },
    addDelivery,
    waitingTargets: (): string[] =>
      z
        .array(z.object({ target: z.string() }))
        .parse(targets.all())
        .map(({ target }) => target),
    /** Oldest first. */
    waiting: (target: string): Delivery[] => waiting.all(target).map(toDelivery),
    saveDelivery({ id, state, attempts, nextMs, reason }: Omit<Delivery, 'events'>): void {
      setDelivery.run(state, attempts, Math.round(nextMs), reason ?? null, id)
    },
    /** Latest first. */
    deliveries: (limit: number): Delivery[] => deliveries.all(limit).map(toDelivery),
  }
}
