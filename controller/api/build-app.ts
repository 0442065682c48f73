import { fileURLToPath } from 'node:url'
import { describeError, EspalierError, IntegrityError, MessageError, StoreError } from '@espalier/shared/errors'
import { type DeviceId, deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
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
import { OPERATOR, type Passwords, parseBasic } from '../broker/passwords.ts'
import { isLoopback } from '../config.ts'
import type { EventBus } from '../events.ts'
import type { Families } from '../families.ts'
import type { DeviceRecord, Fleet } from '../ingest/fleet.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { Planner } from '../planner/planner.ts'
import type { Decoder } from '../uplink/decoder.ts'
import { budgetBodySchema, budgetKeySchema, budgetSchema, findMisfit } from './budget-schemas.ts'
import { streamEvents } from './event-stream.ts'
import { formatMetrics } from './metrics.ts'
import { findForeignOrigin } from './origin-check.ts'
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

export interface AppOptions extends ViewSources {
  readonly host: string
  readonly passwords: Passwords | undefined
  readonly fleet: Fleet
  readonly families: Families
  readonly planner: Planner
  readonly ingest: Ingest
  readonly decoder: Decoder
  readonly events: EventBus
  readonly link: () => Pick<MqttLink, 'sendCommand' | 'isConnected'>
  readonly log: Logger
}

/** Larger uplink messages are refused: a frame is a fraction of this. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024
const HISTORY = 20
/** A device that was asked answers with its next frame: asking faster than this only repeats it. */
const KEY_FRAME_REQUEST_EVERY_MS = 2000
// The folder lies beside package.json; this file runs from `api/` and from `dist/api/`.
const WEB = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../web' : '../../web', import.meta.url))

class ApiError extends Error {
  readonly statusCode: number
  readonly code: string

  constructor(statusCode: number, code: string, message: string) {
    super(message)
    this.statusCode = statusCode
    this.code = code
  }
}

const notFound = (what: string, name: string, known: readonly string[]): ApiError =>
  new ApiError(
    404,
    'NOT_FOUND',
    `Cannot find ${what} "${name}": expected ${known.length === 0 ? 'one that is known, found none' : `one of ${known.slice(0, 20).join(', ')}`}`,
  )

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
  if (error instanceof EspalierError) return answer(500, error.code, error.message)
  const { statusCode = 500, code = 'INTERNAL' } = error as FastifyError
  if (statusCode >= 500) request.log.error(error)
  return answer(statusCode, code, statusCode >= 500 ? 'Cannot answer: see the log of the controller' : error.message)
}

/** Build the HTTP side: API, page, uplink. Nothing listens yet. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const loggerInstance: FastifyBaseLogger = options.log.child({ part: 'api' }, { level: 'warn' })
  const app: FastifyInstance = Fastify({ loggerInstance, bodyLimit: 64 * 1024, forceCloseConnections: true })
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
  await app.register(fastifySwaggerUi, { routePrefix: '/api/docs' })
  await app.register(fastifyWebsocket, { options: { maxPayload: MAX_FRAME_BYTES } })
  await app.register(fastifyStatic, { root: WEB, cacheControl: false })
  await app.register(async (api) => addRoutes(api, options), { prefix: '/api/v1' })
  return app
}

/** Beyond loopback a device proves who it is on its uplink, and the operator everywhere else. */
function checkCredentials(request: FastifyRequest, reply: FastifyReply, { passwords, host }: AppOptions): void {
  if (passwords === undefined || request.url === '/api/v1/health') return
  const given = parseBasic(request.headers.authorization)
  const uplink = /^\/api\/v1\/uplink\/([^/]+)\//.exec(request.url)
  if (uplink === null && isLoopback(host)) return
  const expected = uplink === null ? OPERATOR : uplink[1]!
  if (given?.name === expected && passwords.matches(given.name, given.password)) return
  reply.header('www-authenticate', 'Basic realm="espalier"')
  throw new ApiError(401, 'UNAUTHORISED', `Cannot serve "${request.url}": expected the password of "${expected}"`)
}

function addRoutes(instance: FastifyInstance, options: AppOptions): void {
  const { store, streams, clock, fleet, families, planner, events } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  const closing = new AbortController()
  instance.addHook('preClose', async () => closing.abort())

  const errors = { 400: errorSchema, 404: errorSchema, 503: errorSchema }
  const deviceParams = z.object({ id: z.string() })
  const find = (id: string): DeviceRecord => {
    const device = fleet.get(id)
    if (device === undefined)
      throw notFound(
        'device',
        id,
        fleet.list().map((d) => d.id),
      )
    return device
  }

  api.get('/devices', { schema: { response: { 200: z.array(deviceViewSchema) } } }, () =>
    fleet.list().map((device) => viewDevice(device, options)),
  )

  api.get(
    '/devices/:id',
    { schema: { params: deviceParams, response: { 200: deviceDetailSchema, ...errors } } },
    (request) => {
      const device = find(request.params.id)
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
      const device = find(request.params.id)
      const totals = viewTotals(device, options)
      if (totals === undefined) throw notFound('telemetry of', device.id, [])
      return totals
    },
  )

  api.get(
    '/devices/:id/events',
    { schema: { params: deviceParams, response: { 200: deviceEventsSchema, ...errors } } },
    (request) => viewEvents(find(request.params.id), HISTORY, options),
  )

  api.get(
    '/devices/:id/why',
    { schema: { params: deviceParams, response: { 200: whySchema, ...errors } } },
    (request) => {
      const device = find(request.params.id)
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
      const device = find(request.params.id)
      if (!options.link().isConnected())
        throw new ApiError(503, 'TRANSPORT', `Cannot command "${device.id}": the broker does not answer, try again`)
      return reply.code(202).send({ command: await options.link().sendCommand(device.id, request.body) })
    },
  )

  api.get(
    '/devices/:id/slots/:slot/frame.png',
    { schema: { params: z.object({ id: z.string(), slot: z.string() }) } },
    async (request, reply) => {
      const device = find(request.params.id)
      const { slot } = request.params
      const key = `${device.id}/${slot}`
      const chain = streams.chain(key)
      const family = families.get(device.birth?.slots.find((s) => s.slot === slot)?.family ?? '')
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
      store.budgets.change(key, request.body, clock.wallMs())
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
      store.budgets.change(key, undefined, clock.wallMs())
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

  api.get('/health', { schema: { response: { 200: healthSchema } } }, () => {
    const mqtt = options.link().isConnected()
    return { status: mqtt ? ('ok' as const) : ('degraded' as const), mqtt, messages: options.ingest.counts() }
  })

  api.get('/metrics', { schema: { response: { 200: z.string() } } }, async (_request, reply) =>
    reply
      .type('text/plain; version=0.0.4')
      .serializer((text: unknown) => String(text))
      .send(formatMetrics(fleet.list(), planner.latest(), options.ingest.counts(), options)),
  )

  api.get('/events', { schema: { hide: true } }, (_request, reply) => streamEvents(reply, events, closing.signal))

  const askedMs = new Map<string, number>()
  const askForKeyFrame = (device: DeviceId, slot: string): void => {
    const nowMs = clock.monotonicMs()
    if (nowMs - (askedMs.get(`${device}/${slot}`) ?? -Infinity) < KEY_FRAME_REQUEST_EVERY_MS) return
    askedMs.set(`${device}/${slot}`, nowMs)
    options
      .link()
      .sendCommand(device, { kind: 'key-frame', slot: slotIdSchema.parse(slot) })
      .catch((error: unknown) =>
        options.log.warn({ device, slot, reason: describeError(error) }, 'no key frame asked for'),
      )
  }
  const uplinkParams = z.object({ device: deviceIdSchema, slot: slotIdSchema })
  api.get(
    '/uplink/:device/:slot',
    { websocket: true, schema: { hide: true, params: uplinkParams } },
    (socket, request) => {
      const { device, slot } = request.params as z.infer<typeof uplinkParams>
      socket.on('message', (data: Buffer) => {
        try {
          if (!streams.accept(`${device}/${slot}`, data)) askForKeyFrame(device, slot)
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
