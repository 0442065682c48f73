export const AUDIT_KINDS = ['budget', 'rollout', 'command', 'alert-rule', 'family'] as const

export interface AuditEntry {
  readonly id: number
  readonly at: string
  readonly actor: string
  readonly address?: string
  readonly kind: (typeof AUDIT_KINDS)[number]
  readonly action: string
  readonly subject: string
  readonly before?: unknown
  readonly after?: unknown
}

/** Latest first; `next` is where the next page begins. */
export interface AuditPageAnswer {
  readonly entries: readonly AuditEntry[]
  readonly next?: number
}
