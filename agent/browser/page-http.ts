import { describeError, TransportError } from '@espalier/shared/errors'

export interface PageResponse {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: AsyncIterable<Uint8Array>
}

async function* readBody(
  body: ReadableStream<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      onBytes(value.byteLength)
      yield value
    }
  } finally {
    // One that is left early is not read to its end by anybody else.
    await reader.cancel().catch(() => undefined)
  }
}

const basic = (username: string, password: string): string =>
  `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${username}:${password}`)))}`

/**
 * GET of a page, in place of the connections of a computer: redirections are the browser's affair, and of what passes
 * the wire a page sees the contents alone.
 */
export function openHttp({
  credentials,
  onTraffic,
}: {
  readonly credentials?: { readonly origin: string; readonly username: string; readonly password: string } | undefined
  readonly onTraffic: (traffic: { readonly rxBytes: number; readonly txBytes: number }) => void
}) {
  return {
    async get(
      url: string,
      { headers, signal }: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
    ): Promise<PageResponse> {
      const own = credentials !== undefined && credentials.origin === new URL(url).origin
      const sent = own ? { ...headers, authorization: basic(credentials.username, credentials.password) } : headers
      try {
        const response = await fetch(url, { headers: sent, signal, cache: 'no-store' })
        const body = response.body ?? new Blob([]).stream()
        return {
          status: response.status,
          headers: Object.fromEntries(response.headers),
          body: readBody(body, (rxBytes) => onTraffic({ rxBytes, txBytes: 0 })),
        }
      } catch (cause) {
        if (signal.aborted) throw cause
        throw new TransportError(`Cannot fetch "${url}": ${describeError(cause)}`, { cause, retryable: true })
      }
    },
    close: (): void => undefined,
  }
}
