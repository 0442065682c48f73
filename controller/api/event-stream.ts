import type { FastifyReply } from 'fastify'
import type { EventBus } from '../events.ts'

/** A comment this often keeps proxies from closing a silent stream. */
const HEARTBEAT_MS = 15_000

/** Answer with Server-Sent Events until the client goes away. */
export function streamEvents(reply: FastifyReply, events: EventBus, closing: AbortSignal): void {
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    connection: 'keep-alive',
    'x-content-type-options': 'nosniff',
  })
  raw.write(': open\n\n')
  const unsubscribe = events.subscribe(({ kind, data }) => {
    raw.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`)
  })
  const heartbeat = setInterval(() => raw.write(': alive\n\n'), HEARTBEAT_MS)
  const end = () => {
    clearInterval(heartbeat)
    unsubscribe()
    closing.removeEventListener('abort', end)
    raw.end()
  }
  closing.addEventListener('abort', end)
  raw.once('close', end)
}
