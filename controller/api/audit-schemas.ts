import { z } from 'zod'
import { auditKindSchema } from '../store/audit.ts'

export const auditEntrySchema = z.object({
  /** Rises with each entry. */
  id: z.int(),
  at: z.iso.datetime(),
  /** Name of the operator's credentials; `local` where none are asked for; `controller` for what it did by itself. */
  actor: z.string(),
  /** Where the request came from; absent for what the controller did by itself. */
  address: z.string().optional(),
  kind: auditKindSchema,
  /** e.g. `set`, `remove`, `create`, `pause`, `stop`, `roll-back`, `send`, `add`. */
  action: z.string(),
  /** A budget's key, a rollout's id, a device (and slot), a rule's id, a family. */
  subject: z.string(),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
})
export type AuditView = z.infer<typeof auditEntrySchema>

export const auditQuerySchema = z.object({
  kind: auditKindSchema.optional(),
  action: z.string().max(40).optional(),
  subject: z.string().max(200).optional(),
  actor: z.string().max(80).optional(),
  since: z.iso.datetime().optional(),
  until: z.iso.datetime().optional(),
  /** Entries before this id: `next` of the page before. */
  before: z.coerce.number().int().min(1).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
})
export type AuditQuery = z.infer<typeof auditQuerySchema>

/** Latest first. */
export const auditPageSchema = z.object({ entries: z.array(auditEntrySchema), next: z.int().optional() })
