import type { Clock } from '@espalier/shared/clock'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Families } from '../../families.ts'
import type { Fleet } from '../../ingest/fleet.ts'
import type { Store } from '../../store/open-store.ts'
import { makeTrace } from '../../trace/make-trace.ts'
import { formatTrace } from '../../trace/trace.ts'
import { errorSchema } from '../schemas.ts'

/** What was recorded, for `espalier replay`: docs/formats.md "Traces". */
export function addTraceRoutes(
  instance: FastifyInstance,
  sources: { readonly store: Store; readonly fleet: Fleet; readonly families: Families; readonly clock: Clock },
): void {
  const query = z.object({ minutes: z.coerce.number().positive().max(1440).default(20), device: z.string().optional() })
  instance
    .withTypeProvider<ZodTypeProvider>()
    .get(
      '/trace',
      { schema: { querystring: query, response: { 200: z.string(), 404: errorSchema } } },
      async (request, reply) => {
        const nowMs = sources.clock.wallMs()
        const { minutes, device } = request.query
        const trace = makeTrace(sources, { sinceMs: nowMs - minutes * 60_000, nowMs, device })
        if (trace === undefined)
          return reply.code(404).send({
            error: {
              code: 'NOT_FOUND',
              message: `Cannot make a trace: nothing was heard of any codec slot${device === undefined ? '' : ` of "${device}"`} in the last ${minutes} min`,
            },
          })
        return reply
          .type('application/x-ndjson')
          .serializer((text: unknown) => String(text))
          .send(formatTrace(trace))
      },
    )
}
