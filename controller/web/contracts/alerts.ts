import type { z } from 'zod'
import type {
  alertDeliveriesSchema,
  alertEventsSchema,
  alertMetricsSchema,
  alertRulesSchema,
  alertsSchema,
} from '../../api/alert-schemas.ts'

export type Alerts = z.infer<typeof alertsSchema>
export type AlertRules = z.infer<typeof alertRulesSchema>
export type AlertEvents = z.infer<typeof alertEventsSchema>
export type AlertDeliveries = z.infer<typeof alertDeliveriesSchema>
export type AlertMetrics = z.infer<typeof alertMetricsSchema>
export type Alert = Alerts['alerts'][number]
export type AlertRule = AlertRules['rules'][number]
export type AlertEvent = AlertEvents['events'][number]
export type AlertDelivery = AlertDeliveries['deliveries'][number]
export type AlertMetric = AlertMetrics['metrics'][number]
export type Severity = AlertRule['severity']
