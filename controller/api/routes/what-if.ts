import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Planner } from '../../planner/planner.ts'
import { comparePlans } from '../../planner/what-if.ts'
import { budgetSchema, findMisfit } from '../budget-schemas.ts'
import { errorSchema, pricedRowSchema } from '../schemas.ts'

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

/** Of codecs and of classifiers; absent where there are none. */
const qualityShape = { psnrDb: z.number().optional(), accuracyPct: z.number().optional() }

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
  /** Means of all slots that have one, weighted by their weight. */
  ...qualityShape,
})

const sideSchema = z.object({
  configurationId: z.string(),
  /** Without the bonus for staying. */
  utility: z.number(),
  rateBps: z.number(),
  powerW: z.number(),
  latencyMs: z.number(),
  ...qualityShape,
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
      now: pricedRowSchema.optional(),
      after: pricedRowSchema.optional(),
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
      ...qualityShape,
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
      ...qualityShape,
    }),
  ),
  /** Of the plan under the request's budgets; `isNew` where the present plan does not have it. */
  alarms: z.array(z.object({ kind: z.string(), subject: z.string(), message: z.string(), isNew: z.boolean() })),
  /** Time that it took. */
  tookMs: z.number(),
})
export type WhatIf = z.infer<typeof whatIfSchema>

/** Requests are small, but a fleet may have thousands of budgets. */
const MAX_BODY_BYTES = 4 * 1024 * 1024

export function addWhatIf(instance: FastifyInstance, planner: Planner): void {
  const response = { 200: whatIfSchema, 400: errorSchema, 404: errorSchema }
  instance
    .withTypeProvider<ZodTypeProvider>()
    .post(
      '/plan/what-if',
      { schema: { body: whatIfBodySchema, response }, bodyLimit: MAX_BODY_BYTES },
      async (request, reply) => {
        const refuse = (status: 400 | 404, code: string, message: string) =>
          reply.code(status).send({ error: { code, message } })
        const startedMs = performance.now()
        const { budgets, limit } = request.body
        const changes = new Map<string, Omit<(typeof budgets)[number], 'key'> | undefined>()
        for (const { key, ...budget } of budgets) {
          const isRemoved = Object.keys(budget).length === 0
          const misfit = isRemoved ? undefined : findMisfit(key, budget)
          if (misfit !== undefined) return refuse(400, 'BAD_REQUEST', misfit)
          changes.set(key, isRemoved ? undefined : budget)
        }
        const answer = planner.whatIf(changes)
        if (answer === undefined)
          return refuse(404, 'NOT_FOUND', 'Cannot ask "what if": there is no plan yet, try again in a few seconds')
        return { ...comparePlans(answer, limit), tookMs: performance.now() - startedMs }
      },
    )
}
