import type { Clock } from '@espalier/shared/clock'
import { describeError, StoreError, TransportError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import type { Logger } from 'pino'
import type { EventBus } from '../events.ts'
import type { Fleet } from '../ingest/fleet.ts'
import type { Plan } from '../plan/plan-fleet.ts'
import type { Rollout } from '../rollout/rollout.ts'
import type { Delivery, StoredAlertEvent } from '../store/alerts.ts'
import type { Actor } from '../store/audit.ts'
import type { Store } from '../store/open-store.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import { parseCondition } from './condition.ts'
import { type AlertState, evaluateRules } from './evaluate-rules.ts'
import { LiveReadings } from './live-readings.ts'
import { readMetrics } from './read-metrics.ts'
import type { Rule } from './rule.ts'

/** Brings a message to one target. */
export type Send = (target: string, id: number, events: readonly StoredAlertEvent[]) => Promise<void>

export interface AlertsOptions {
  readonly store: Store
  readonly fleet: Fleet
  readonly events: EventBus
  readonly clock: Clock
  readonly log: Logger
  readonly plan: () => Plan | undefined
  readonly rollouts: () => readonly Rollout[]
  readonly send: Send
  readonly intervalMs?: number
  /** Before the second attempt; doubled each time. */
  readonly backOffMs?: number
  /** 0 to 1. */
  readonly random?: () => number
}

export interface Alerts {
  rules(): readonly Rule[]
  /** Pending and firing. */
  states(): readonly AlertState[]
  saveRule(rule: Rule, by: Actor): void
  /** @returns Whether there was one. */
  removeRule(id: string, by: Actor): boolean
  /** Send something to the targets of a rule, to see whether it comes. @returns How many there are. */
  test(rule: Rule): number
  observe(device: DeviceId, before: TelemetryRow, after: TelemetryRow): void
  /** Judge all rules now; otherwise every few seconds. */
  tick(): void
  /** Try what is due. */
  deliver(): Promise<void>
  close(): Promise<void>
}

const INTERVAL_MS = 5000
const BACK_OFF_MS = 5000
const MOST_BACK_OFF_MS = 15 * 60_000
/** Whoever does not answer for a day does not want to hear of it any more. */
const GIVEN_UP_MS = 24 * 3600 * 1000

const isLiveMetric = (rule: Rule): boolean => {
  const { name, scope, unit } = parseCondition(rule.condition).metric
  return name === 'device.throttled' || (unit !== undefined && ['device', 'site', 'fleet'].includes(scope))
}

/** Judges rules, remembers what fires, and sends what happened until it was taken. */
export function createAlerts(options: AlertsOptions): Alerts {
  const { store, clock, log } = options
  const random = options.random ?? Math.random
  const live = new LiveReadings()
  let rules = store.alerts.rules()
  let states = store.alerts.states()
  let isLive = rules.some(isLiveMetric)
  let delivering: Promise<void> | undefined
  let isClosing = false

  function readRules(): void {
    rules = store.alerts.rules()
    states = store.alerts.states()
    isLive = rules.some(isLiveMetric)
    if (!isLive) live.clear()
  }

  function evaluate(): void {
    if (rules.length === 0 && states.length === 0) return
    const nowMs = clock.wallMs()
    const readings = readMetrics({
      devices: options.fleet.list(),
      live: ({ id }) => live.of(id, clock.monotonicMs()),
      budgets: store.budgets.list(),
      plan: options.plan(),
      rollouts: options.rollouts(),
    })
    const { states: next, events } = evaluateRules(rules, readings, states, nowMs)
    const key = ({ rule, subject }: Pick<AlertState, 'rule' | 'subject'>) => `${rule} ${subject}`
    const before = new Map(states.map((state) => [key(state), state]))
    const after = new Set(next.map(key))
    // Values move all the time; what must outlive a restart is what state it is in, and since when.
    const isNews = (a: AlertState | undefined, b: AlertState): boolean =>
      a?.state !== b.state || a.sinceMs !== b.sinceMs || a.clearMs !== b.clearMs
    const saved = next.filter((state) => isNews(before.get(key(state)), state))
    const removed = states.filter((state) => !after.has(key(state)))
    if (saved.length + removed.length + events.length > 0) {
      const targetsOf = (id: string) => rules.find((rule) => rule.id === id)?.notify ?? []
      store.alerts.apply({ saved, removed, events, targetsOf, atMs: nowMs })
    }
    states = next
    for (const { event, rule, subject, severity, message } of events) {
      log.warn({ event, rule, subject, severity }, message)
      options.events.emit({ kind: 'alert', data: { event, rule, subject, severity, message } })
    }
  }

  function tick(): void {
    try {
      evaluate()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      log.error({ reason: error.message }, 'alerts not saved')
    }
    void alerts.deliver()
  }

  /** @returns Whether it is over with: it was taken, or given up. */
  async function attempt(delivery: Delivery): Promise<boolean> {
    const { id, target, createdMs } = delivery
    const attempts = delivery.attempts + 1
    const save = (change: Pick<Delivery, 'state' | 'nextMs'> & { reason?: string }): void =>
      store.alerts.saveDelivery({ id, target, createdMs, attempts, ...change })
    try {
      await options.send(target, id, delivery.events)
      save({ state: 'delivered', nextMs: clock.wallMs() })
      return true
    } catch (error) {
      if (error instanceof StoreError) throw error
      const reason = describeError(error)
      const nowMs = clock.wallMs()
      const isOver = !(error instanceof TransportError && error.retryable) || nowMs - createdMs > GIVEN_UP_MS
      const waitMs = Math.min(MOST_BACK_OFF_MS, (options.backOffMs ?? BACK_OFF_MS) * 2 ** (attempts - 1))
      save({ state: isOver ? 'failed' : 'waiting', nextMs: nowMs + waitMs * (0.5 + random() / 2), reason })
      log.warn({ delivery: id, attempts, reason, isOver }, 'alert not delivered')
      return isOver
    }
  }

  async function deliverDue(): Promise<void> {
    await Promise.all(
      store.alerts.waitingTargets().map(async (target) => {
        // What happened first is heard first: while one waits, those after it do too.
        for (const delivery of store.alerts.waiting(target))
          if (isClosing || delivery.nextMs > clock.wallMs() || !(await attempt(delivery))) return
      }),
    )
  }

  const timer = setInterval(tick, options.intervalMs ?? INTERVAL_MS)
  const alerts: Alerts = {
    rules: () => rules,
    states: () => states,
    saveRule(rule, by) {
      const before = rules.find(({ id }) => id === rule.id)
      const note = { atMs: clock.wallMs(), by, kind: 'alert-rule' as const, subject: rule.id, before, after: rule }
      store.alerts.saveRule(rule, { ...note, action: before === undefined ? 'create' : 'change' })
      readRules()
    },
    removeRule(id, by) {
      const before = rules.find((rule) => rule.id === id)
      if (before === undefined) return false
      store.alerts.removeRule(id, {
        atMs: clock.wallMs(),
        by,
        kind: 'alert-rule',
        action: 'remove',
        subject: id,
        before,
      })
      readRules()
      return true
    },
    test(rule) {
      const { id, severity, condition } = rule
      const atMs = clock.wallMs()
      const message = `a test of the rule "${id}": nothing has happened`
      for (const target of rule.notify)
        store.alerts.addDelivery(
          target,
          [{ id: 0, atMs, event: 'fired', rule: id, subject: 'test', severity, condition, message }],
          atMs,
        )
      void alerts.deliver()
      return rule.notify.length
    },
    observe(device, before, after) {
      if (isLive) live.observe(device, before, after, clock.monotonicMs())
    },
    tick,
    deliver() {
      delivering ??= deliverDue()
        .catch((error: unknown) => log.error({ reason: describeError(error) }, 'deliveries not saved'))
        .finally(() => {
          delivering = undefined
        })
      return delivering
    },
    async close() {
      isClosing = true
      clearInterval(timer)
      await delivering
    },
  }
  return alerts
}
