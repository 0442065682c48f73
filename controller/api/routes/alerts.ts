import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Alerts } from '../../alert/alerts.ts'
import { parseCondition } from '../../alert/condition.ts'
import { metrics } from '../../alert/metrics.ts'
import { type Rule, ruleBodySchema, ruleIdSchema } from '../../alert/rule.ts'
import { targetForPeople } from '../../alert/send-alert.ts'
import type { Passwords } from '../../broker/passwords.ts'
import type { Store } from '../../store/open-store.ts'
import { actorOf } from '../actor.ts'
import {
  alertDeliveriesSchema,
  alertEventsQuerySchema,
  alertEventsSchema,
  alertMetricsSchema,
  alertRuleSchema,
  alertRulesSchema,
  alertsSchema,
} from '../alert-schemas.ts'
import { ApiError } from '../api-error.ts'
import { findById, type Known } from '../find-by-id.ts'
import { errorSchema } from '../schemas.ts'

export interface AlertRouteOptions {
  readonly store: Store
  readonly alerts: Alerts
  readonly passwords: Passwords | undefined
  /** Why a target cannot be used; undefined: it can. */
  readonly findTargetRefusal: (target: string) => string | undefined
}

const iso = (ms: number): string => new Date(ms).toISOString()

const present = <T>(name: string, value: T | undefined): object => (value === undefined ? {} : { [name]: value })

export function addAlertRoutes(instance: FastifyInstance, options: AlertRouteOptions): void {
  const { store, alerts } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  const errors = { 400: errorSchema, 404: errorSchema, 503: errorSchema }
  const params = z.object({ id: ruleIdSchema })
  const known: Known<Rule> = { get: (id) => alerts.rules().find((rule) => rule.id === id), list: alerts.rules }
  const find = (id: string): Rule => findById('rule', id, known)

  /** What fires now comes first. */
  api.get('/alerts', { schema: { response: { 200: alertsSchema } } }, () => {
    const rules = new Map(alerts.rules().map((rule) => [rule.id, rule]))
    return {
      alerts: alerts
        .states()
        .flatMap((state) => {
          const rule = rules.get(state.rule)
          if (rule === undefined) return []
          const { metric } = parseCondition(rule.condition)
          return [
            {
              rule: rule.id,
              subject: state.subject,
              severity: rule.severity,
              condition: rule.condition,
              state: state.state,
              since: iso(state.sinceMs),
              ...present('firedAt', state.firedMs === undefined ? undefined : iso(state.firedMs)),
              ...present('value', state.value),
              ...present('threshold', state.threshold),
              ...present('unit', metric.unit),
            },
          ]
        })
        .sort((a, b) => (a.state < b.state ? -1 : a.state > b.state ? 1 : 0)),
    }
  })

  api.get('/alerts/rules', { schema: { response: { 200: alertRulesSchema } } }, () => ({ rules: [...alerts.rules()] }))

  api.get('/alerts/rules/:id', { schema: { params, response: { 200: alertRuleSchema, ...errors } } }, (request) =>
    find(request.params.id),
  )

  api.put(
    '/alerts/rules/:id',
    { schema: { params, body: ruleBodySchema, response: { 200: alertRuleSchema, ...errors } } },
    (request) => {
      const rule: Rule = { id: request.params.id, ...request.body }
      for (const target of rule.notify) {
        const refusal = options.findTargetRefusal(target)
        if (refusal !== undefined)
          throw new ApiError(400, 'BAD_REQUEST', `Cannot notify "${targetForPeople(target)}": ${refusal}`)
      }
      alerts.saveRule(rule, actorOf(request, options.passwords))
      alerts.tick()
      return rule
    },
  )

  api.delete(
    '/alerts/rules/:id',
    { schema: { params, response: { 204: z.null(), ...errors } } },
    async (request, reply) => {
      find(request.params.id)
      alerts.removeRule(request.params.id, actorOf(request, options.passwords))
      return reply.code(204).send(null)
    },
  )

  api.post(
    '/alerts/rules/:id/test',
    { schema: { params, response: { 202: z.object({ sent: z.int() }), ...errors } } },
    async (request, reply) => reply.code(202).send({ sent: alerts.test(find(request.params.id)) }),
  )

  api.get(
    '/alerts/events',
    { schema: { querystring: alertEventsQuerySchema, response: { 200: alertEventsSchema, ...errors } } },
    (request) => {
      const { limit, ...filter } = request.query
      const found = store.alerts.events({ ...filter, limit: limit + 1 })
      const events = found.slice(0, limit)
      return {
        events: events.map(({ atMs, value, threshold, unit, ...event }) => ({
          ...event,
          at: iso(atMs),
          ...present('value', value),
          ...present('threshold', threshold),
          ...present('unit', unit),
        })),
        ...(found.length > events.length ? { next: events.at(-1)!.id } : {}),
      }
    },
  )

  api.get('/alerts/deliveries', { schema: { response: { 200: alertDeliveriesSchema } } }, () => ({
    deliveries: store.alerts
      .deliveries(100)
      .map(({ id, target, state, attempts, createdMs, nextMs, reason, events }) => ({
        id,
        to: targetForPeople(target),
        state,
        attempts,
        createdAt: iso(createdMs),
        ...(state === 'waiting' ? { nextAt: iso(nextMs) } : {}),
        ...present('reason', reason),
        events: events.length,
      })),
  }))

  api.get('/alerts/metrics', { schema: { response: { 200: alertMetricsSchema } } }, () => ({
    metrics: metrics.map(({ name, scope, unit, hasBudget, sentence }) => ({
      name,
      scope,
      ...present('unit', unit),
      isFlag: unit === undefined,
      hasBudget: hasBudget === true,
      sentence,
    })),
  }))
}
