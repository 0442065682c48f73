import { fileURLToPath } from 'node:url'
import { readHeader } from '@espalier/shared/codec/container'
import { describeError, EspalierError, IntegrityError, MessageError, StoreError } from '@espalier/shared/errors'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import fastifyStatic from '@fastify/static'
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import fastifyWebsocket from '@fastify/websocket'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import {
  hasZodFastifySchemaValidationErrors,
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { MqttLink } from '../broker/mqtt-link.ts'
import { isOperator, OPERATOR, type Passwords, parseBasic } from '../broker/passwords.ts'
import { isLoopback } from '../config.ts'
import type { EventBus } from '../events.ts'
import { type Families, familyOf, type KnownFamily } from '../families.ts'
import type { Fleet } from '../ingest/fleet.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { Overview } from '../overview/overview.ts'
import type { Planner } from '../planner/planner.ts'
import type { Decoder } from '../uplink/decoder.ts'
import { KeyFrameRequests } from '../uplink/key-frame-requests.ts'
import { actorOf } from './actor.ts'
import { ApiError, notFound } from './api-error.ts'
import { budgetBodySchema, budgetKeySchema, budgetSchema, findMisfit } from './budget-schemas.ts'
import { streamEvents } from './event-stream.ts'
import { findById } from './find-by-id.ts'
import { formatMetrics } from './metrics.ts'
import { findForeignOrigin } from './origin-check.ts'
import { addPageSecurity } from './page-security.ts'
import type { Tls } from './read-tls.ts'
import { type AgentPageOptions, addAgentOffer, addAgentPage, isOfAgentPage, MQTT_PATH } from './routes/agent-page.ts'
import { type AlertRouteOptions, addAlertRoutes } from './routes/alerts.ts'
import { addAuditRoutes } from './routes/audit.ts'
import { addFamilyRoutes, FAMILY_FILES } from './routes/families.ts'
import { addFamilyVersionRoutes, type FamilyVersionRouteOptions } from './routes/family-versions.ts'
import { addFleetRoutes } from './routes/fleet.ts'
import { addLiveRoutes } from './routes/live.ts'
import { addRolloutRoutes, type RolloutRouteOptions } from './routes/rollouts.ts'
import { addTraceRoutes } from './routes/trace.ts'
import { addWhatIf } from './routes/what-if.ts'
import {
  budgetsSchema,
  commandBodySchema,
  deviceDetailSchema,
  deviceEventsSchema,
  deviceViewSchema,
  errorSchema,
  familySchema,
  healthSchema,
  planSchema,
  totalsSchema,
  whySchema,
} from './schemas.ts'
import { type ViewSources, viewDevice, viewEvents, viewPlan, viewTotals } from './views.ts'

export interface AppOptions
  extends ViewSources,
    RolloutRouteOptions,
    Omit<AlertRouteOptions, 'store'>,
    Omit<FamilyVersionRouteOptions, 'store' | 'nowMs'> {
  readonly host: string
  readonly passwords: Passwords | undefined
  readonly fleet: Fleet
  readonly families: Families
  readonly planner: Planner
  readonly ingest: Ingest
  readonly overview: Overview
  readonly decoder: Decoder
  readonly events: EventBus
  readonly link: () => Pick<MqttLink, 'sendCommand' | 'isConnected'>
  readonly agentPage: AgentPageOptions
  /** Undefined: plain http. */
  readonly tls: Tls | undefined
  readonly log: Logger
}

/** Larger uplink messages are refused: a frame is a fraction of this. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024
const HISTORY = 20
// Where the page is built to; this file runs from `api/` and from `dist/api/`.
const WEB = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../dist/web' : '../web', import.meta.url))

function sendError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const answer = (status: number, code: string, message: string) =>
    reply.code(status).send({ error: { code, message } })
  // The server no longer owns the socket of a refused upgrade, and would wait for it when it closes.
  if (request.headers.upgrade !== undefined) reply.raw.once('finish', () => request.raw.socket.destroySoon())
  if (hasZodFastifySchemaValidationErrors(error)) {
    const found = error.validation.map(({ instancePath, message }) => `${instancePath || 'it'}: ${message}`).join('; ')
    return answer(400, 'BAD_REQUEST', `Cannot use the ${error.validationContext} of "${request.url}": ${found}`)
  }
  if (error instanceof StoreError) return answer(503, error.code, error.message)
  if (error instanceof IntegrityError) return answer(502, error.code, error.message)
  if (error instanceof EspalierError && error.code === 'ROLLOUT') return answer(409, error.code, error.message)
  if (error instanceof EspalierError) return answer(500, error.code, error.message)
  const { statusCode = 500, code = 'INTERNAL' } = error as FastifyError
  if (statusCode >= 500) request.log.error(error)
  return answer(statusCode, code, statusCode >= 500 ? 'Cannot answer: see the log of the controller' : error.message)
}

/** Build the HTTP side: API, page, uplink. Nothing listens yet. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const loggerInstance: FastifyBaseLogger = options.log.child({ part: 'api' }, { level: 'warn' })
  const settings = { loggerInstance, bodyLimit: 64 * 1024, forceCloseConnections: true }
  // The same routes on either kind of server, which differ in their type alone.
  const app = (
    options.tls === undefined ? Fastify(settings) : Fastify({ ...settings, https: { ...options.tls } })
  ) as FastifyInstance
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.setErrorHandler(sendError)
  app.setNotFoundHandler((request, reply) =>
    sendError(
      new ApiError(404, 'NOT_FOUND', `Cannot find "${request.method} ${request.url}": see /api/docs`),
      request,
      reply,
    ),
  )
  app.addHook('onRequest', async (request, reply) => {
    const foreign = findForeignOrigin(request.headers, options.host)
    if (foreign !== undefined) throw new ApiError(403, 'FOREIGN_ORIGIN', `Cannot serve "${request.url}": ${foreign}`)
    checkCredentials(request, reply, options)
  })
  await app.register(fastifySwagger, {
    openapi: { info: { title: 'Espalier controller', version: '1', description: 'Times are ISO 8601; units are SI.' } },
    transform: jsonSchemaTransform,
  })
  app.addHook('onRequest', addPageSecurity)
  await app.register(fastifySwaggerUi, { routePrefix: '/api/docs', staticCSP: true })
  await app.register(fastifyWebsocket, { options: { maxPayload: MAX_FRAME_BYTES } })
  // Files under `assets/` carry a digest of what they hold in their name; the page itself is asked for each time.
  await app.register(fastifyStatic, {
    root: WEB,
    cacheControl: false,
    setHeaders: (response, path) =>
      response.header('cache-control', path.includes('/assets/') ? 'max-age=31536000, immutable' : 'no-cache'),
  })
  await app.register(async (api) => addRoutes(api, options), { prefix: '/api/v1' })
  await app.register(async (scope) => addAgentPage(scope, options.agentPage))
  return app
}

/** A page cannot set headers of a WebSocket: there, a second subprotocol `basic.<base64url of name:password>` says it. */
function credentialsOf({ headers }: FastifyRequest): ReturnType<typeof parseBasic> {
  const inProtocol = /(?:^|,)\s*basic\.([A-Za-z0-9_-]+)/.exec(headers['sec-websocket-protocol'] ?? '')?.[1]
  return parseBasic(
    inProtocol === undefined ? headers.authorization : `Basic ${inProtocol.replaceAll('-', '+').replaceAll('_', '/')}`,
  )
}

/** Beyond loopback a device proves who it is on its uplink, and the operator everywhere else. */
function checkCredentials(request: FastifyRequest, reply: FastifyReply, { passwords, host }: AppOptions): void {
  if (passwords === undefined || request.url === '/api/v1/health') return
  // Over MQTT, whatever carries it, the broker asks who it is.
  if (request.url === MQTT_PATH) return
  const given = credentialsOf(request)
  // Any device may fetch any version: they are all signed or none, and which one it runs is no secret among devices.
  if (FAMILY_FILES.test(request.url) && given !== undefined && passwords.matches(given.name, given.password)) return
  const uplink = /^\/api\/v1\/uplink\/([^/]+)\//.exec(request.url)
  if (uplink === null && isLoopback(host)) return
  if (isOfAgentPage(request.url) && given !== undefined && passwords.matches(given.name, given.password)) return
  const expected = uplink === null ? OPERATOR : uplink[1]!
  const isExpected = given !== undefined && (uplink === null ? isOperator(given.name) : given.name === expected)
  if (isExpected && passwords.matches(given.name, given.password)) return
  reply.header('www-authenticate', 'Basic realm="espalier"')
  throw new ApiError(401, 'UNAUTHORISED', `Cannot serve "${request.url}": expected the password of "${expected}"`)
}

function addRoutes(instance: FastifyInstance, options: AppOptions): void {
  const { store, streams, clock, fleet, families, planner, events } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  addFamilyRoutes(instance, options)
  const closing = new AbortController()
  instance.addHook('preClose', async () => closing.abort())

  const errors = { 400: errorSchema, 404: errorSchema, 503: errorSchema }
  const deviceParams = z.object({ id: z.string() })

  /** The version that a stream was made by, whatever the device runs now. */
  const decoding = (stream: Uint8Array | undefined): KnownFamily | undefined => {
    try {
      return stream && families.byCodec(readHeader(stream).codecDigest)
    } catch (error) {
      if (!(error instanceof IntegrityError)) throw error
      return undefined
    }
  }

  addRolloutRoutes(instance, options)
  addAuditRoutes(instance, options)
  addAlertRoutes(instance, options)
  addFamilyVersionRoutes(instance, { ...options, nowMs: () => clock.wallMs() })

  api.get('/devices', { schema: { response: { 200: z.array(deviceViewSchema) } } }, () =>
    fleet.list().map((device) => viewDevice(device, options)),
  )

  api.get(
    '/devices/:id',
    { schema: { params: deviceParams, response: { 200: deviceDetailSchema, ...errors } } },
    (request) => {
      const device = findById('device', request.params.id, fleet)
      const { birth, reported, desired } = device
      return {
        ...viewDevice(device, options),
        ...(birth === undefined ? {} : { birth }),
        ...(reported === undefined ? {} : { reported }),
        ...(desired === undefined ? {} : { desiredState: desired }),
      }
    },
  )

  api.get(
    '/devices/:id/totals',
    { schema: { params: deviceParams, response: { 200: totalsSchema, ...errors } } },
    (request) => {
      const device = findById('device', request.params.id, fleet)
      const totals = viewTotals(device, options)
      if (totals === undefined) throw notFound('telemetry of', device.id, [])
      return totals
    },
  )

  api.get(
    '/devices/:id/events',
    { schema: { params: deviceParams, response: { 200: deviceEventsSchema, ...errors } } },
    (request) => viewEvents(findById('device', request.params.id, fleet), HISTORY, options),
  )

  api.get(
    '/devices/:id/why',
    { schema: { params: deviceParams, response: { 200: whySchema, ...errors } } },
    (request) => {
      const device = findById('device', request.params.id, fleet)
      const planned = planner.latest()?.slots.filter(({ input }) => input.key.startsWith(`${device.id}/`)) ?? []
      return {
        device: device.id,
        now: planned.map(({ input, why }) => ({ slot: input.birth.slot, why })),
        history: store.decisions
          .recent(device.id, HISTORY)
          .map(({ atMs, ...decision }) => ({ ...decision, at: new Date(atMs).toISOString() })),
      }
    },
  )

  api.post(
    '/devices/:id/commands',
    {
      schema: {
        params: deviceParams,
        body: commandBodySchema,
        response: { 202: z.object({ command: z.string() }), ...errors },
      },
    },
    async (request, reply) => {
      const device = findById('device', request.params.id, fleet)
      if (!options.link().isConnected())
        throw new ApiError(503, 'TRANSPORT', `Cannot command "${device.id}": the broker does not answer, try again`)
      const { kind, ...rest } = request.body
      const slot = 'slot' in rest ? rest.slot : undefined
      const known = device.birth?.slots.map((each) => each.slot) ?? []
      if (slot !== undefined && device.birth !== undefined && !known.includes(slot))
        throw notFound(`slot of "${device.id}"`, slot, known)
      const command = await options.link().sendCommand(device.id, request.body)
      store.audit.add({
        atMs: clock.wallMs(),
        by: actorOf(request, options.passwords),
        kind: 'command',
        action: kind,
        subject: slot === undefined ? device.id : `${device.id}/${slot}`,
        after: { command },
      })
      // Otherwise a rollout would send it forward again.
      if (kind === 'roll-back') options.rollouts.leave(device.id, slot!)
      return reply.code(202).send({ command })
    },
  )

  api.get(
    '/devices/:id/slots/:slot/frame.png',
    { schema: { params: z.object({ id: z.string(), slot: z.string() }) } },
    async (request, reply) => {
      const device = findById('device', request.params.id, fleet)
      const { slot } = request.params
      const key = `${device.id}/${slot}`
      const chain = streams.chain(key)
      const born = device.birth?.slots.find((s) => s.slot === slot)
      const family = decoding(chain.at(-1)?.stream) ?? (born && familyOf(families, device, born))
      if (family === undefined || (chain.length === 0 && !streams.isBroken(key))) throw notFound('a frame of', key, [])
      if (streams.isBroken(key))
        throw new IntegrityError(`Cannot show frame of "${key}": it is damaged or follows a frame that never came`)
      const png = await options.decoder.decode(key, family.directory, chain)
      return reply.type('image/png').header('cache-control', 'no-store').send(Buffer.from(png))
    },
  )

  api.get('/plan', { schema: { response: { 200: planSchema, ...errors } } }, () => {
    const plan = planner.latest()
    if (plan === undefined) throw notFound('a', 'plan', [])
    return viewPlan(plan)
  })

  addWhatIf(api, planner)

  const readBudgets = () => [...store.budgets.list()].map(([key, budget]) => ({ key, ...budget }))

  api.get('/budgets', { schema: { response: { 200: budgetsSchema, ...errors } } }, () => ({
    budgets: readBudgets() as z.infer<typeof budgetsSchema>['budgets'],
    changes: store.budgets.audit(HISTORY).map(
      ({ atMs, key, before, after }) =>
        ({
          at: new Date(atMs).toISOString(),
          key,
          ...(before === undefined ? {} : { before }),
          ...(after === undefined ? {} : { after }),
        }) as z.infer<typeof budgetsSchema>['changes'][number],
    ),
  }))

  const parseKey = (key: string): string => {
    if (!budgetKeySchema.safeParse(key).success)
      throw notFound('budget', key, ['fleet', 'site:<id>', 'gateway:<id>', 'device:<id>'])
    return key
  }

  api.put(
    '/budgets/:key',
    {
      schema: {
        params: z.object({ key: z.string() }),
        body: budgetBodySchema,
        response: { 200: budgetSchema, ...errors },
      },
    },
    (request) => {
      const key = parseKey(request.params.key)
      const misfit = findMisfit(key, request.body)
      if (misfit !== undefined) throw new ApiError(400, 'BAD_REQUEST', misfit)
      store.budgets.change(key, request.body, clock.wallMs(), actorOf(request, options.passwords))
      events.emit({ kind: 'budget', data: { key, budget: request.body } })
      planner.request(`budget "${key}" set`)
      return { key, ...request.body }
    },
  )

  api.delete(
    '/budgets/:key',
    { schema: { params: z.object({ key: z.string() }), response: { 204: z.null(), ...errors } } },
    async (request, reply) => {
      const key = parseKey(request.params.key)
      store.budgets.change(key, undefined, clock.wallMs(), actorOf(request, options.passwords))
      events.emit({ kind: 'budget', data: { key, budget: null } })
      planner.request(`budget "${key}" removed`)
      return reply.code(204).send(null)
    },
  )

  api.get('/families', { schema: { response: { 200: z.array(familySchema) } } }, () =>
    families.list().map(({ manifest, manifestDigest, ...family }) => ({
      family: manifest.family,
      version: manifest.version,
      task: manifest.task,
      manifestDigest,
      ...('codecDigest' in family ? { codecDigest: family.codecDigest } : {}),
      licence: manifest.licence,
      variants: manifest.variants.map(({ id }) => id),
    })),
  )

  addTraceRoutes(instance, options)

  api.get('/health', { schema: { response: { 200: healthSchema } } }, () => {
    const mqtt = options.link().isConnected()
    return { status: mqtt ? ('ok' as const) : ('degraded' as const), mqtt, messages: options.ingest.counts() }
  })

  api.get('/metrics', { schema: { response: { 200: z.string() } } }, async (_request, reply) =>
    reply
      .type('text/plain; version=0.0.4')
      .serializer((text: unknown) => String(text))
      .send(formatMetrics(fleet.list(), planner.latest(), options.ingest.counts(), options, options)),
  )

  api.get('/events', { schema: { hide: true } }, (_request, reply) => streamEvents(reply, events, closing.signal))

  addFleetRoutes(instance, options, closing.signal)

  const keyFrames = new KeyFrameRequests({
    clock,
    send: (device, command) => options.link().sendCommand(device, command),
    onError: (device, slot, error) =>
      options.log.warn({ device, slot, reason: describeError(error) }, 'no key frame asked for'),
  })
  addLiveRoutes(api, { ...options, keyFrames })
  addAgentOffer(api, families, options.agentPage)
  const uplinkParams = z.object({ device: deviceIdSchema, slot: slotIdSchema })
  api.get(
    '/uplink/:device/:slot',
    { websocket: true, schema: { hide: true, params: uplinkParams } },
    (socket, request) => {
      const { device, slot } = request.params as z.infer<typeof uplinkParams>
      socket.on('message', (data: Buffer) => {
        try {
          if (!streams.accept(`${device}/${slot}`, data)) keyFrames.ask(device, slot)
        } catch (error) {
          if (!(error instanceof MessageError)) throw error
          options.log.warn({ device, slot, reason: error.message }, 'uplink frame dropped')
          socket.close(1003, 'not an uplink frame')
        }
      })
      socket.on('error', (error) => options.log.warn({ device, slot, reason: error.message }, 'uplink failed'))
    },
  )
}
