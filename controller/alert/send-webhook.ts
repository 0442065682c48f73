import { createHmac } from 'node:crypto'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { describeError, TransportError } from '@espalier/shared/errors'
import { checkedLookup, checkHost } from './check-address.ts'

export interface WebhookOptions {
  /** Key of the HMAC. */
  readonly secret: string
  /** Hosts that may have an address of this network, and be spoken to without TLS. */
  readonly allowed: ReadonlySet<string>
}

const TIMEOUT_MS = 10_000
/** Worth another try: the request came at a bad moment, or the server has trouble. */
const isRetryable = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500

/** What the receiver computes and compares: over `timestamp.body`, so that a message cannot be sent again later. */
export function signWebhook(secret: string, timestampS: number, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestampS}.${body}`).digest('hex')}`
}

/**
 * POST a document. Redirects are not followed: they could lead to where the URL may not.
 *
 * @param id Of the delivery: the same in each attempt, so that a receiver can ignore what it has.
 * @throws {TransportError} If it was not answered with 2xx; `retryable` says whether another try can help.
 */
export async function sendWebhook(
  url: string,
  id: number,
  document: unknown,
  { secret, allowed, nowMs }: WebhookOptions & { readonly nowMs: number },
): Promise<void> {
  const target = new URL(url)
  const host = target.hostname.replace(/^\[|\]$/g, '')
  const fail = (found: string, retryable: boolean, cause?: unknown): TransportError =>
    new TransportError(`Cannot send to "${target.host}": ${found}`, { retryable, cause })
  if (target.protocol !== 'https:' && !allowed.has(host))
    throw fail(`found ${target.protocol}, expected https:, or the host in "webhookAllow"`, false)
  checkHost(target.hostname, allowed)
  const body = JSON.stringify(document)
  const timestampS = Math.floor(nowMs / 1000)
  const status = await new Promise<number>((done, reject) => {
    const request = (target.protocol === 'https:' ? requestHttps : requestHttp)(target, {
      method: 'POST',
      lookup: checkedLookup(allowed),
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'espalier-controller',
        'x-espalier-delivery': String(id),
        'x-espalier-timestamp': String(timestampS),
        'x-espalier-signature': signWebhook(secret, timestampS, body),
      },
    })
    request.once('response', (response) => {
      // What it says beside its status is of no interest, however long.
      response.destroy()
      done(response.statusCode ?? 0)
    })
    request.once('error', (cause) =>
      reject(cause instanceof TransportError ? cause : fail(describeError(cause), true, cause)),
    )
    request.end(body)
  })
  if (status < 200 || status > 299) throw fail(`found status ${status}, expected 2xx`, isRetryable(status))
}
