import { z } from 'zod'
import { ruleBodySchema, SCOPES, SEVERITIES } from '../alert/rule.ts'

export const alertRuleSchema = ruleBodySchema.extend({ id: z.string() })
export const alertRulesSchema = z.object({ rules: z.array(alertRuleSchema) })

/** A rule that is, or was, true of a subject. */
export const alertSchema = z.object({
  rule: z.string(),
  /** A device, `device/slot`, `site:<id>`, `fleet` or a rollout. */
  subject: z.string(),
  severity: z.enum(SEVERITIES),
  condition: z.string(),
  /** `pending`: true, and not yet for long enough. */
  state: z.enum(['pending', 'firing']),
  since: z.iso.datetime(),
  firedAt: z.iso.datetime().optional(),
  /** As last read; absent where it cannot be read now, and of conditions without a number. */
  value: z.number().optional(),
  threshold: z.number().optional(),
  unit: z.string().optional(),
})
export type AlertView = z.infer<typeof alertSchema>

export const alertsSchema = z.object({ alerts: z.array(alertSchema) })

export const alertEventSchema = alertSchema.omit({ state: true, since: true, firedAt: true }).extend({
  id: z.int(),
  at: z.iso.datetime(),
  event: z.enum(['fired', 'resolved']),
  message: z.string(),
})
export type AlertEventView = z.infer<typeof alertEventSchema>

export const alertEventsQuerySchema = z.object({
  rule: z.string().max(80).optional(),
  subject: z.string().max(200).optional(),
  before: z.coerce.number().int().min(1).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
})
/** Latest first. */
export const alertEventsSchema = z.object({ events: z.array(alertEventSchema), next: z.int().optional() })

export const alertDeliverySchema = z.object({
  id: z.int(),
  /** A webhook's URL without what may be secret in it, or an address. */
  to: z.string(),
  state: z.enum(['waiting', 'delivered', 'failed']),
  attempts: z.int(),
  createdAt: z.iso.datetime(),
  nextAt: z.iso.datetime().optional(),
  /** Why the last attempt failed. */
  reason: z.string().optional(),
  events: z.int(),
})
export const alertDeliveriesSchema = z.object({ deliveries: z.array(alertDeliverySchema) })

/** What rules can be about. */
export const alertMetricsSchema = z.object({
  metrics: z.array(
    z.object({
      /** e.g. `device.powerW` */
      name: z.string(),
      scope: z.enum(SCOPES),
      /** Flags have none: they are true or not. */
      unit: z.string().optional(),
      isFlag: z.boolean(),
      /** Whether `0.95 budget` can be compared with. */
      hasBudget: z.boolean(),
      sentence: z.string(),
    }),
  ),
})
