import type { FastifyReply } from 'fastify'
import type { EventBus } from '../events.ts'

/** A comment this often keeps proxies from closing a silent stream. */
const HEARTBEAT_MS = 15_000

/**
 * Answer with Server-Sent Events until the client goes away or `closing` is aborted.
 *
 * @param onEnd Called once.
 */
export function openEventStream(
  reply: FastifyReply,
  closing: AbortSignal,
  onEnd: () => void,
): { send(kind: string, data: unknown): void } {
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    connection: 'keep-alive',
    'x-content-type-options': 'nosniff',
  })
  raw.write(': open\n\n')
  const heartbeat = setInterval(() => raw.write(': alive\n\n'), HEARTBEAT_MS)
  let isOpen = true
  const end = () => {
    if (!isOpen) return
    isOpen = false
    clearInterval(heartbeat)
    onEnd()
    closing.removeEventListener('abort', end)
    raw.end()
  }
  closing.addEventListener('abort', end)
  raw.once('close', end)
  return { send: (kind, data) => void raw.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`) }
}

/** All that happens, as it happens. */
export function streamEvents(reply: FastifyReply, events: EventBus, closing: AbortSignal): void {
  const stream = openEventStream(reply, closing, () => unsubscribe())
  const unsubscribe = events.subscribe(({ kind, data }) => stream.send(kind, data))
}
