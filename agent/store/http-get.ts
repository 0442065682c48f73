import { Agent as HttpAgent, get as httpGet, type IncomingMessage, type RequestOptions } from 'node:http'
import { Agent as HttpsAgent, get as httpsGet } from 'node:https'
import type { Socket } from 'node:net'
import { describeError, TransportError } from '@espalier/shared/errors'

export interface HttpResponse {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Ends where the server ended it in order; throws where the connection broke. */
  readonly body: AsyncIterable<Uint8Array>
}

/** One GET, redirections followed. @throws {TransportError} If there is no answer. */
export type HttpGet = (
  url: string,
  options: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
) => Promise<HttpResponse>

const MAX_REDIRECTIONS = 3
const REDIRECTIONS = new Set([301, 302, 303, 307, 308])

export interface HttpOptions {
  /** Sent to this origin and no other: a store of files on the web has no business with a device's password. */
  readonly credentials?: { readonly origin: string; readonly username: string; readonly password: string } | undefined
  /** Bytes that passed the socket, headers included. */
  readonly onTraffic: (traffic: { readonly rxBytes: number; readonly txBytes: number }) => void
}

/**
 * GET over connections that are kept, with their bytes counted at the socket. `fetch` would do, but says nothing of
 * headers and what is lost on the way, and those are paid for too.
 */
export function openHttp({ credentials, onTraffic }: HttpOptions): { readonly get: HttpGet; close(): void } {
  const agents = { 'http:': new HttpAgent({ keepAlive: true }), 'https:': new HttpsAgent({ keepAlive: true }) }
  const counted = new WeakMap<Socket, { rx: number; tx: number }>()
  const count = (socket: Socket): void => {
    const before = counted.get(socket) ?? { rx: 0, tx: 0 }
    const now = { rx: socket.bytesRead, tx: socket.bytesWritten }
    counted.set(socket, now)
    onTraffic({ rxBytes: now.rx - before.rx, txBytes: now.tx - before.tx })
  }

  const ask = (url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      if (url.protocol !== 'http:' && url.protocol !== 'https:')
        throw new TransportError(`Cannot fetch "${url}": expected http or https`, { retryable: false })
      const own = credentials !== undefined && credentials.origin === url.origin
      const options: RequestOptions = {
        agent: agents[url.protocol],
        signal,
        // A compressed answer has other offsets than the file.
        headers: { ...headers, 'accept-encoding': 'identity' },
        ...(own ? { auth: `${credentials.username}:${credentials.password}` } : {}),
      }
      const request = (url.protocol === 'https:' ? httpsGet : httpGet)(url, options, resolve)
      request.on('error', reject)
      request.on('close', () => request.socket && count(request.socket))
    })

  return {
    async get(from, { headers, signal }) {
      let url = new URL(from)
      try {
        for (let hop = 0; hop <= MAX_REDIRECTIONS; hop++) {
          const answer = await ask(url, headers, signal)
          const { statusCode = 0, headers: answered } = answer
          if (!REDIRECTIONS.has(statusCode) || answered.location === undefined)
            return { status: statusCode, headers: answered, body: answer }
          answer.resume()
          url = new URL(answered.location, url)
        }
      } catch (cause) {
        if (cause instanceof TransportError || signal.aborted) throw cause
        throw new TransportError(`Cannot fetch "${from}": ${describeError(cause)}`, { cause, retryable: true })
      }
      throw new TransportError(`Cannot fetch "${from}": found more than ${MAX_REDIRECTIONS} redirections`, {
        retryable: false,
      })
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}
