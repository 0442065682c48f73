import type { HttpGet } from '@espalier/agent/store/http-get'
import { TransportError } from '@espalier/shared/errors'

/** Of an answer and its request on the wire, as ours are. */
const HEADER_BYTES = 350
const CHUNK_BYTES = 16 * 1024

export interface SimulatedServerOptions {
  /** By path. */
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly bytesPerSecond: number
  /** The link is cut whenever the clock passes a multiple of this. */
  readonly cutEveryMs: number
  /** Milliseconds; only `advance` moves it. */
  readonly nowMs: () => number
  readonly advance: (ms: number) => void
  /** Called as bytes come; may throw: the process has ended. */
  readonly onChunk: () => void
  /** What comes instead of a file's bytes from `offset` on. */
  readonly alter?: (path: string, bytes: Uint8Array, offset: number) => Uint8Array
  /** A proxy that knows no ranges is in the way. */
  readonly ignoresRanges?: boolean
}

/** An HTTP server at the other end of a link that is cut again and again, with ranges, `If-Range` and digests as tags. */
export class SimulatedServer {
  readonly #options: SimulatedServerOptions
  /** Bytes that the device's link carried to it, those that were lost on the way included. */
  carriedBytes = 0
  requests = 0

  constructor(options: SimulatedServerOptions) {
    this.#options = options
  }

  readonly get: HttpGet = async (url, { headers }) => {
    const { files, ignoresRanges = false } = this.#options
    this.#options.onChunk()
    this.requests++
    try {
      this.#carry(HEADER_BYTES)
    } catch (cause) {
      throw new TransportError(`Cannot fetch "${url}": the link was cut`, { cause, retryable: true })
    }
    const path = new URL(url).pathname.slice(1)
    const file = files.get(path)
    const none = { status: 404, headers: {}, body: (async function* () {})() }
    if (file === undefined) return none
    const tag = `"${path.split('/').at(-1)}"`
    const range = /^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1]
    const isSame = headers['if-range'] === undefined || headers['if-range'] === tag || path.endsWith('manifest.json')
    const start = range !== undefined && isSame && !ignoresRanges ? Number(range) : 0
    if (start >= file.byteLength && file.byteLength > 0) return { ...none, status: 416 }
    const body = this.#send(path, file, start)
    if (range !== undefined && start > 0)
      return {
        status: 206,
        headers: { etag: tag, 'content-range': `bytes ${start}-${file.byteLength - 1}/${file.byteLength}` },
        body,
      }
    return { status: 200, headers: { etag: tag, 'content-length': String(file.byteLength) }, body }
  }

  async *#send(path: string, file: Uint8Array, start: number): AsyncGenerator<Uint8Array> {
    const { alter = (_path, bytes) => bytes, onChunk } = this.#options
    for (let at = start; at < file.byteLength; ) {
      const chunk = file.slice(at, Math.min(at + CHUNK_BYTES, file.byteLength))
      this.#carry(chunk.byteLength)
      onChunk()
      yield alter(path, chunk, at)
      at += chunk.byteLength
    }
  }

  /** @throws As a connection that breaks does, when the link is cut meanwhile; what it carried is lost, and paid for. */
  #carry(bytes: number): void {
    const { bytesPerSecond, cutEveryMs, nowMs, advance } = this.#options
    const cut = Math.floor(nowMs() / cutEveryMs)
    this.carriedBytes += bytes
    advance((1000 * bytes) / bytesPerSecond)
    if (Math.floor(nowMs() / cutEveryMs) === cut) return
    throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
  }
}
