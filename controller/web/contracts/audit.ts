import type { z } from 'zod'
import type { AuditView, auditPageSchema } from '../../api/audit-schemas.ts'

export type AuditEntry = AuditView
export type AuditPageAnswer = z.infer<typeof auditPageSchema>
