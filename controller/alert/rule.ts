import { z } from 'zod'
import { selectorTextSchema } from '../rollout/selector.ts'
import { conditionTextSchema } from './condition.ts'

export { SCOPES } from './metrics.ts'

export const SEVERITIES = ['info', 'warning', 'critical'] as const

/** Where a rule's alerts go: `https://...` for a webhook, `mailto:...` for e-mail. */
const targetSchema = z
  .string()
  .max(500)
  .refine(
    (text) => /^mailto:[^\s@,;<>"]+@[^\s@,;<>"]+$/.test(text) || (/^https?:\/\//.test(text) && URL.canParse(text)),
    'expected "https://..." or "mailto:name@host"',
  )

export const ruleIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a rule id is 1 to 63 of a-z, 0-9 and -, starting with a letter or digit')

export const ruleBodySchema = z.strictObject({
  /** e.g. `device.powerW > 12 for 60s`, `device.offline for 5m`, `site.rateBps > 0.95 budget` */
  condition: conditionTextSchema,
  /** Of devices, which; empty: all. */
  selector: selectorTextSchema.default(''),
  severity: z.enum(SEVERITIES).default('warning'),
  /** How far back a value must come to be over, as a share of the threshold. */
  hysteresisShare: z.number().min(0).max(1).default(0.05),
  notify: z.array(targetSchema).max(10).default([]),
  isEnabled: z.boolean().default(true),
})
export type RuleBody = z.infer<typeof ruleBodySchema>

export interface Rule extends RuleBody {
  readonly id: string
}
