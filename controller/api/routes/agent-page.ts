import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { digestSchema } from '@espalier/shared/ids'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { createWebSocketStream } from 'ws'
import { z } from 'zod'
import type { Families } from '../../families.ts'

export interface AgentPageOptions {
  /** Of the built page. */
  readonly directory: string
  /** Of the embedded broker; undefined without one. */
  readonly acceptMqtt: ((connection: Duplex) => void) | undefined
  /** Of another broker. */
  readonly mqttUrl: string | undefined
  readonly isPasswordNeeded: boolean
}

/** MQTT over WebSocket: here the broker's own passwords and rules hold. */
export const MQTT_PATH = '/mqtt'

/** What a device needs before it is one: any device may have it. */
export function isOfAgentPage(url: string): boolean {
  return /^\/agent(\/|\?|$)|^\/api\/v1\/agent(\?|$)|^\/api\/v1\/families\/[0-9a-f]{64}\//.test(url)
}

/**
 * Shared memory, and so threads, only for a page that nobody else's page can look into; scripts and WebAssembly from here
 * alone.
 */
const HEADERS: Readonly<Record<string, string>> = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'content-security-policy':
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  'permissions-policy': 'camera=(self), screen-wake-lock=(self), compute-pressure=(self)',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}

/** `/agent`: the page that makes a browser a device, and `/mqtt`: how it speaks with the broker. */
export async function addAgentPage(app: FastifyInstance, { directory, acceptMqtt }: AgentPageOptions): Promise<void> {
  app.get('/agent', { schema: { hide: true } }, (request, reply) =>
    reply.redirect(request.url.replace(/^\/agent/, '/agent/')),
  )
  if (existsSync(join(directory, 'index.html')))
    await app.register(fastifyStatic, {
      root: directory,
      prefix: '/agent/',
      decorateReply: false,
      cacheControl: false,
      setHeaders: (reply) => {
        for (const [name, value] of Object.entries(HEADERS)) reply.header(name, value)
      },
    })
  else
    app.get('/agent/', { schema: { hide: true } }, () => {
      throw Object.assign(new Error(`Cannot find the agent's page in "${directory}": run "npm run build"`), {
        statusCode: 404,
        code: 'NOT_FOUND',
      })
    })
  if (acceptMqtt !== undefined)
    app.get(MQTT_PATH, { websocket: true, schema: { hide: true } }, (socket) =>
      acceptMqtt(createWebSocketStream(socket)),
    )
}

const offerSchema = z.object({
  mqttUrl: z.string().nullable(),
  isPasswordNeeded: z.boolean(),
  families: z.array(
    z.object({ family: z.string(), version: z.string(), task: z.string(), manifestDigest: digestSchema }),
  ),
})

/** `GET /agent` of the API: what the page needs to know before it starts. */
export function addAgentOffer(
  instance: FastifyInstance,
  families: Families,
  { mqttUrl, isPasswordNeeded }: AgentPageOptions,
): void {
  const api = instance.withTypeProvider<ZodTypeProvider>()
  api.get('/agent', { schema: { response: { 200: offerSchema } } }, () => ({
    mqttUrl: mqttUrl ?? null,
    isPasswordNeeded,
    families: families.list().map(({ manifest: { family, version, task }, manifestDigest }) => ({
      family,
      version,
      task,
      manifestDigest,
    })),
  }))
}
