import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Store } from '../../store/open-store.ts'
import { auditPageSchema, auditQuerySchema } from '../audit-schemas.ts'
import { errorSchema } from '../schemas.ts'

const msOf = (time: string | undefined): number | undefined => (time === undefined ? undefined : Date.parse(time))

export function addAuditRoutes(instance: FastifyInstance, { store }: { readonly store: Store }): void {
  const api = instance.withTypeProvider<ZodTypeProvider>()
  api.get(
    '/audit',
    {
      schema: { querystring: auditQuerySchema, response: { 200: auditPageSchema, 400: errorSchema, 503: errorSchema } },
    },
    (request) => {
      const { since, until, ...filter } = request.query
      const found = store.audit.page({ ...filter, sinceMs: msOf(since), untilMs: msOf(until), limit: filter.limit + 1 })
      const entries = found.slice(0, filter.limit)
      return {
        entries: entries.map(({ atMs, address, before, after, ...entry }) => ({
          ...entry,
          at: new Date(atMs).toISOString(),
          ...(address === undefined ? {} : { address }),
          ...(before === undefined ? {} : { before }),
          ...(after === undefined ? {} : { after }),
        })),
        ...(found.length > entries.length ? { next: entries.at(-1)!.id } : {}),
      }
    },
  )
}
