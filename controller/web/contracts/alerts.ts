export type Severity = 'info' | 'warning' | 'critical'

export interface AlertRule {
  readonly id: string
  readonly condition: string
  readonly selector: string
  readonly severity: Severity
  readonly hysteresisShare: number
  readonly notify: readonly string[]
  readonly isEnabled: boolean
}

export interface Alert {
  readonly rule: string
  readonly subject: string
  readonly severity: Severity
  readonly condition: string
  readonly state: 'pending' | 'firing'
  readonly since: string
  readonly firedAt?: string
  readonly value?: number
  readonly threshold?: number
  readonly unit?: string
}

export interface AlertEvent {
  readonly id: number
  readonly at: string
  readonly event: 'fired' | 'resolved'
  readonly rule: string
  readonly subject: string
  readonly severity: Severity
  readonly message: string
}

export interface AlertDelivery {
  readonly id: number
  readonly to: string
  readonly state: 'waiting' | 'delivered' | 'failed'
  readonly attempts: number
  readonly createdAt: string
  readonly nextAt?: string
  readonly reason?: string
  readonly events: number
}

export interface AlertMetric {
  readonly name: string
  readonly unit?: string
  readonly hasBudget: boolean
  readonly sentence: string
}
