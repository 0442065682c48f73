import { z } from 'zod'
import { budgetSchema } from '../budget-schemas.ts'

/**
 * `POST /api/v1/plan/what-if`: what the planner would do now under other budgets. Nothing is committed or sent.
 */
export const whatIfBodySchema = z.strictObject({
  /** In place of those of the same key; a key with nothing else has no budget. All others stay as they are. */
  budgets: z.array(budgetSchema).max(10_000),
  /** So many slots are listed, those that change most first. */
  limit: z.int().min(0).max(10_000).default(100),
})
export type WhatIfBody = z.infer<typeof whatIfBodySchema>

const totalsSchema = z.object({
  /** Utility of the plan, and what no plan (in whole choices) can exceed. */
  value: z.number(),
  bound: z.number(),
  integerBound: z.number(),
  gap: z.number(),
  /** Means that are planned. */
  rateBps: z.number(),
  powerW: z.number(),
  /** g/h; 0 where no site has a carbon intensity. */
  carbonGPerH: z.number(),
  /** Of all slots that have one, weighted by their weight; absent without slots. */
  psnrDb: z.number().optional(),
})

/** A budget's row in the unit that it is set in. */
const rowSchema = z.object({
  limit: z.number(),
  reserved: z.number(),
  planned: z.number(),
  margin: z.number(),
  isKept: z.boolean(),
  /** Utility of one unit more. */
  price: z.number(),
  /** The same for people. */
  worth: z.string(),
})

const sideSchema = z.object({
  configurationId: z.string(),
  /** Without the bonus for staying. */
  utility: z.number(),
  rateBps: z.number(),
  powerW: z.number(),
  latencyMs: z.number(),
  psnrDb: z.number(),
})

export const whatIfSchema = z.object({
  /** Under the present budgets, and under those of the request; both from the same inputs. */
  now: totalsSchema,
  after: totalsSchema,
  rows: z.array(
    z.object({
      /** `site:<id>`, `gateway:<id>`, `power`, `carbon`, `device:<id>`. */
      key: z.string(),
      unit: z.enum(['bit/s', 'W', 'g/h']),
      /** Absent: no such budget. */
      now: rowSchema.optional(),
      after: rowSchema.optional(),
    }),
  ),
  slots: z.object({ total: z.int(), changed: z.int() }),
  /** Every site, whether or not it has a budget. */
  sites: z.array(
    z.object({
      site: z.string(),
      slots: z.int(),
      changed: z.int(),
      /** after - now. */
      utility: z.number(),
      rateBps: z.number(),
      powerW: z.number(),
      /** Mean over its slots. */
      psnrDb: z.number(),
    }),
  ),
  /** The first `limit` slots by how much utility they lose or gain; unchanged ones are not listed. */
  changes: z.array(
    z.object({
      device: z.string(),
      slot: z.string(),
      site: z.string(),
      now: sideSchema,
      after: sideSchema,
      /** after - now. */
      utility: z.number(),
      rateBps: z.number(),
      powerW: z.number(),
      psnrDb: z.number(),
    }),
  ),
  /** Of the plan under the request's budgets; `isNew` where the present plan does not have it. */
  alarms: z.array(z.object({ kind: z.string(), subject: z.string(), message: z.string(), isNew: z.boolean() })),
  /** Time that it took. */
  tookMs: z.number(),
})
export type WhatIf = z.infer<typeof whatIfSchema>
