import type { Clock } from '@espalier/shared/clock'
import { digestSchema } from '@espalier/shared/ids'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { EventBus } from '../../events.ts'
import type { Families } from '../../families.ts'
import type { Fleet } from '../../ingest/fleet.ts'
import { groupByCause } from '../../overview/change-log.ts'
import { groupingSchema } from '../../overview/group-rows.ts'
import type { Overview } from '../../overview/overview.ts'
import { pageOfRows, pageQuerySchema } from '../../overview/page-of-rows.ts'
import { keyOfRow, mapFleet, summariseFleet } from '../../overview/summarise-fleet.ts'
import { seriesOf, viewTelemetry } from '../../overview/view-device.ts'
import { viewFamily } from '../../overview/view-family.ts'
import type { Planner } from '../../planner/planner.ts'
import type { Store } from '../../store/open-store.ts'
import { ApiError, notFound } from '../api-error.ts'
import { findById } from '../find-by-id.ts'
import { fleetStreams } from '../fleet-stream.ts'
import { errorSchema } from '../schemas.ts'
import {
  devicePageSchema,
  deviceSeriesSchema,
  deviceTelemetrySchema,
  type FleetSummary,
  familyViewSchema,
  fleetChangesSchema,
  fleetMapSchema,
  fleetSeriesSchema,
  fleetSummarySchema,
} from './fleet-schemas.ts'

export interface FleetRouteOptions {
  readonly overview: Overview
  readonly fleet: Fleet
  readonly families: Families
  readonly planner: Pick<Planner, 'latest'>
  readonly store: Store
  readonly events: EventBus
  readonly clock: Clock
}

const HOUR_MS = 3_600_000
/** Younger summaries are given again. */
const SUMMARY_MS = 500
const MAX_CHANGES = 500
const MAX_WATCHED = 500

const spanSchema = z.object({
  /** Seconds back from now. */
  seconds: z.coerce
    .number()
    .min(10)
    .max(30 * 86_400)
    .default(3600),
  points: z.coerce.number().int().min(2).max(2000).default(300),
})

/** Everything that the page shows of a fleet, put together here: a page asks once whatever the number of devices. */
export function addFleetRoutes(instance: FastifyInstance, options: FleetRouteOptions, closing: AbortSignal): void {
  const { overview, fleet, families, planner, store, events, clock } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  const errors = { 400: errorSchema, 404: errorSchema, 503: errorSchema }
  const deviceParams = z.object({ id: z.string() })

  const facts = () => ({ rows: overview.rows(), plan: planner.latest(), budgets: store.budgets.list(), fleet })
  let summarised: { readonly atMs: number; readonly summary: FleetSummary } | undefined
  /** Made once for all who look. */
  const summary = (): FleetSummary => {
    const [nowMs, elapsedMs] = [clock.wallMs(), clock.monotonicMs()]
    if (summarised !== undefined && elapsedMs - summarised.atMs < SUMMARY_MS) return summarised.summary
    const made = summariseFleet(facts(), nowMs, overview.changes.since(nowMs - HOUR_MS).length)
    summarised = { atMs: elapsedMs, summary: made }
    return made
  }

  api.get('/fleet/summary', { schema: { response: { 200: fleetSummarySchema } } }, summary)

  api.get(
    '/fleet/map',
    {
      schema: {
        querystring: z.object({ by: groupingSchema.default('site') }),
        response: { 200: fleetMapSchema, ...errors },
      },
    },
    (request) => mapFleet(facts(), request.query.by),
  )

  api.get(
    '/fleet/devices',
    { schema: { querystring: pageQuerySchema, response: { 200: devicePageSchema, ...errors } } },
    (request) => {
      const { query } = request
      return { offset: query.offset, ...pageOfRows(overview.rows(), query, keyOfRow(query.by ?? 'site', fleet)) }
    },
  )

  api.get(
    '/fleet/changes',
    {
      schema: {
        querystring: z.object({
          seconds: z.coerce.number().min(1).max(3600).default(3600),
          limit: z.coerce.number().int().min(0).max(MAX_CHANGES).default(100),
        }),
        response: { 200: fleetChangesSchema, ...errors },
      },
    },
    (request) => {
      // Rows that are stale may hold a change of health.
      overview.rows()
      const sinceMs = clock.wallMs() - request.query.seconds * 1000
      const changes = overview.changes.since(sinceMs)
      return {
        sinceMs,
        total: changes.length,
        causes: groupByCause(changes),
        changes: changes.slice(0, request.query.limit),
      }
    },
  )

  api.get(
    '/fleet/series',
    {
      schema: {
        querystring: spanSchema.extend({ scope: z.string().max(80).default('fleet') }),
        response: { 200: fleetSeriesSchema, ...errors },
      },
    },
    (request) => {
      const { scope, seconds, points } = request.query
      const nowMs = clock.wallMs()
      return { scope, points: store.series.between(scope, nowMs - seconds * 1000, nowMs, points) }
    },
  )

  api.get(
    '/fleet/devices/:id/series',
    { schema: { params: deviceParams, querystring: spanSchema, response: { 200: deviceSeriesSchema, ...errors } } },
    (request) => {
      const { id } = findById('device', request.params.id, fleet)
      const { seconds, points } = request.query
      const nowMs = clock.wallMs()
      return { device: id, points: seriesOf(store.samples.thinned(id, nowMs - seconds * 1000, nowMs, points)) }
    },
  )

  api.get(
    '/fleet/devices/:id/telemetry',
    { schema: { params: deviceParams, response: { 200: deviceTelemetrySchema, ...errors } } },
    (request) => {
      const { id, recent } = findById('device', request.params.id, fleet)
      if (recent === undefined) throw notFound('telemetry of', id, [])
      return viewTelemetry(id, recent)
    },
  )

  api.get(
    '/fleet/families/:family',
    {
      schema: {
        params: z.object({ family: z.string() }),
        // The newest where none is named.
        querystring: z.object({ version: digestSchema.optional() }),
        response: { 200: familyViewSchema, ...errors },
      },
    },
    (request) => {
      const { family: name } = request.params
      const { version } = request.query
      const family = version === undefined ? families.get(name) : families.version(version)
      if (family?.manifest.family !== name)
        throw notFound(
          'family',
          version === undefined ? name : `${name}, version ${version}`,
          families
            .list()
            .map(({ manifest, manifestDigest }) => (version === undefined ? manifest.family : manifestDigest)),
        )
      return viewFamily(family, overview.rows())
    },
  )

  const streams = fleetStreams({ events, summary, row: (id) => overview.row(id) })
  api.get('/fleet/events', { schema: { hide: true } }, (_request, reply) => streams.open(reply, closing))

  api.put(
    '/fleet/events/:stream',
    {
      schema: {
        hide: true,
        params: z.object({ stream: z.string() }),
        body: z.strictObject({ devices: z.array(z.string()).max(MAX_WATCHED) }),
        response: { 204: z.null(), ...errors },
      },
    },
    async (request, reply) => {
      if (!streams.watch(request.params.stream, request.body.devices))
        throw new ApiError(
          404,
          'NOT_FOUND',
          `Cannot find stream "${request.params.stream}": it has ended, open another`,
        )
      return reply.code(204).send(null)
    },
  )
}
