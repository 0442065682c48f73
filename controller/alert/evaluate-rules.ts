import { formatQuantity } from '@espalier/shared/units'
import { matchesSelector, parseSelector } from '../rollout/selector.ts'
import { type Condition, parseCondition } from './condition.ts'
import type { Reading, Readings } from './reading.ts'
import type { Rule } from './rule.ts'

/** Of a rule and a subject of which its condition is, or was a moment ago, true; there is none for all others. */
export interface AlertState {
  readonly rule: string
  readonly subject: string
  readonly state: 'pending' | 'firing'
  /** When the condition became true. */
  readonly sinceMs: number
  readonly firedMs?: number | undefined
  /** Since when it is over, while that is not yet certain. */
  readonly clearMs?: number | undefined
  /** When it was last read. */
  readonly readMs: number
  readonly value?: number | undefined
  readonly threshold?: number | undefined
}

export interface AlertEvent {
  readonly event: 'fired' | 'resolved'
  readonly rule: string
  readonly subject: string
  readonly severity: Rule['severity']
  readonly condition: string
  readonly message: string
  readonly value?: number | undefined
  readonly threshold?: number | undefined
  readonly unit?: string | undefined
}

/** An alert ends once it was over for as long as it had to be true, and for a minute at most. */
const MOST_CLEAR_MS = 60_000
/** Where nothing can be read, nothing ends; after a day nobody believes in it any more. */
const FORGOTTEN_MS = 24 * 3600 * 1000

/** Whether the condition holds; `past` asks with the hysteresis of an alert that fires. Undefined: it cannot be said. */
function holds(condition: Condition, reading: Reading, past: number): boolean | undefined {
  const { comparison } = condition
  if (comparison === undefined) return reading.isTrue
  const threshold = thresholdOf(condition, reading)
  if (reading.value === undefined || threshold === undefined) return undefined
  const slack = past * Math.abs(threshold)
  switch (comparison.operator) {
    case '>':
      return reading.value > threshold - slack
    case '>=':
      return reading.value >= threshold - slack
    case '<':
      return reading.value < threshold + slack
    case '<=':
      return reading.value <= threshold + slack
  }
}

function thresholdOf({ comparison }: Condition, { budget }: Reading): number | undefined {
  if (comparison === undefined) return undefined
  if (!comparison.isOfBudget) return comparison.threshold
  return budget === undefined ? undefined : comparison.threshold * budget
}

function describe(rule: Rule, { metric }: Condition, state: AlertState, ending: string | undefined): string {
  const say = (value: number): string => formatQuantity(value, metric.unit ?? '')
  const limit = state.threshold === undefined ? '' : `, threshold ${say(state.threshold)}`
  const value = state.value === undefined ? '' : ` (${say(state.value)}${limit})`
  return `${state.subject}: ${ending ?? rule.condition}${value}`
}

const keyOf = ({ rule, subject }: Pick<AlertState, 'rule' | 'subject'>): string => `${rule} ${subject}`

/** One subject of a rule: what it becomes. */
function step(
  rule: Rule,
  condition: Condition,
  before: AlertState | undefined,
  reading: Reading,
  nowMs: number,
): { state: AlertState | undefined; event?: 'fired' | 'resolved' } {
  const isFiring = before?.state === 'firing'
  const isHeld = holds(condition, reading, isFiring ? rule.hysteresisShare : 0)
  if (isHeld === undefined) {
    if (!isFiring) return { state: undefined }
    return nowMs - before.readMs > FORGOTTEN_MS ? { state: before, event: 'resolved' } : { state: before }
  }
  const read = { readMs: nowMs, value: reading.value, threshold: thresholdOf(condition, reading) }
  if (isHeld) {
    const sinceMs = before?.sinceMs ?? nowMs
    const state: AlertState = {
      rule: rule.id,
      subject: reading.subject,
      state: isFiring ? 'firing' : 'pending',
      sinceMs,
      ...(before?.firedMs === undefined ? {} : { firedMs: before.firedMs }),
      ...read,
    }
    if (isFiring || nowMs - sinceMs < condition.forMs) return { state }
    return { state: { ...state, state: 'firing', firedMs: nowMs }, event: 'fired' }
  }
  if (!isFiring) return { state: undefined }
  const clearMs = before.clearMs ?? nowMs
  const isOver = nowMs - clearMs >= Math.min(condition.forMs, MOST_CLEAR_MS)
  return { state: { ...before, ...read, clearMs }, ...(isOver ? { event: 'resolved' as const } : {}) }
}

/**
 * Judge rules against what was read. Each rule and subject fires once and is resolved once, however often this is called: what
 * it remembers goes in and comes out, so that it can be kept over a restart.
 *
 * @returns All states there are now, and what happened.
 */
export function evaluateRules(
  rules: readonly Rule[],
  readings: Readings,
  states: readonly AlertState[],
  nowMs: number,
): { states: AlertState[]; events: AlertEvent[] } {
  const left = new Map(states.map((state) => [keyOf(state), state]))
  const next: AlertState[] = []
  const events: AlertEvent[] = []
  const tell = (rule: Rule, condition: Condition, event: 'fired' | 'resolved', state: AlertState, ending: string) => {
    const { value, threshold, subject } = state
    events.push({
      event,
      rule: rule.id,
      subject,
      severity: rule.severity,
      condition: rule.condition,
      message: describe(rule, condition, state, event === 'fired' ? undefined : ending),
      value,
      threshold,
      unit: condition.metric.unit,
    })
  }
  for (const rule of rules) {
    const condition = parseCondition(rule.condition)
    if (rule.isEnabled) {
      const selector = parseSelector(rule.selector)
      for (const reading of readings(condition.metric.name)) {
        if (reading.labels !== undefined && !matchesSelector(selector, reading.labels)) continue
        const key = keyOf({ rule: rule.id, subject: reading.subject })
        const { state, event } = step(rule, condition, left.get(key), reading, nowMs)
        left.delete(key)
        if (event !== undefined) tell(rule, condition, event, state!, `no longer ${rule.condition}`)
        if (state !== undefined && event !== 'resolved') next.push(state)
      }
    }
    // Of what is not read any more, because the rule was changed or the subject has gone.
    for (const [key, state] of left)
      if (state.rule === rule.id) {
        left.delete(key)
        if (state.state === 'firing') tell(rule, condition, 'resolved', state, 'not watched any more')
      }
  }
  return { states: next, events }
}
