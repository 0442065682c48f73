import { dirname } from 'node:path'
import { describeError, IntegrityError, TransportError } from '@espalier/shared/errors'
import type { Disk } from './disk.ts'
import type { HttpGet, HttpResponse } from './http-get.ts'

/** Whole flash pages at a time, at offsets that are multiples of this. */
export const WRITE_BYTES = 256 * 1024
/** What a power loss can take of a download: each sync costs the file system a few pages of its own, a few per cent of this. */
export const SYNC_BYTES = 256 * 1024
/** Nothing for so long: the connection is dead, whatever the network says. Slow is not dead. */
export const STALL_MS = 30_000

export interface Wanted {
  readonly url: string
  /** Names the content: a server that has something else under the URL must not be appended to what is here. */
  readonly etag: string
  /** Absent: as many as the server says, and at most `maxBytes`. */
  readonly bytes?: number | undefined
  readonly maxBytes: number
  /** Where it grows. What is there already is the beginning of it. */
  readonly path: string
}

export interface Means {
  readonly disk: Disk
  readonly get: HttpGet
  readonly signal: AbortSignal
  readonly stallMs?: number
  /** Told of bytes as they come; those that are here already, once at the beginning. */
  readonly onBytes?: (bytes: number) => void
}

/** Aborts when nobody called `alive` for a while, or with `signal`. */
class StallWatch {
  readonly #aborting = new AbortController()
  readonly #stallMs: number
  readonly #outer: AbortSignal
  #timer: NodeJS.Timeout
  readonly #follow = (): void => this.#aborting.abort(this.#outer.reason)

  constructor(stallMs: number, outer: AbortSignal) {
    this.#stallMs = stallMs
    this.#outer = outer
    this.#timer = setTimeout(() => this.#stall(), stallMs)
    if (outer.aborted) this.#follow()
    outer.addEventListener('abort', this.#follow)
  }

  get signal(): AbortSignal {
    return this.#aborting.signal
  }

  alive(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#outer.removeEventListener('abort', this.#follow)
  }

  #stall(): void {
    const message = `Cannot go on: nothing came for ${this.#stallMs / 1000} s`
    this.#aborting.abort(new TransportError(message, { retryable: true }))
  }
}

/** Collects what comes into aligned writes, syncs now and then. */
class AlignedWriter {
  readonly #disk: Disk
  readonly #path: string
  readonly #block = new Uint8Array(WRITE_BYTES)
  /** Where the block begins in the file, and how much of it is filled. */
  #offset: number
  #filled = 0
  /** Whether the file's name is on the medium. */
  #isNamed: boolean

  constructor(disk: Disk, path: string, offset: number) {
    this.#isNamed = offset >= SYNC_BYTES
    this.#disk = disk
    this.#path = path
    this.#offset = offset
  }

  get end(): number {
    return this.#offset + this.#filled
  }

  async write(data: Uint8Array): Promise<void> {
    for (let taken = 0; taken < data.byteLength; ) {
      const room = WRITE_BYTES - (this.#offset % WRITE_BYTES) - this.#filled
      const part = data.subarray(taken, taken + room)
      this.#block.set(part, this.#filled)
      this.#filled += part.byteLength
      taken += part.byteLength
      if (part.byteLength === room) await this.flush()
    }
  }

  /** What waits goes to the file; what ends at a multiple of SYNC_BYTES to the medium. */
  async flush(): Promise<void> {
    if (this.#filled === 0) return
    const [offset, filled] = [this.#offset, this.#filled]
    await this.#disk.write(this.#path, offset, this.#block.subarray(0, filled))
    this.#offset = offset + filled
    this.#filled = 0
    if (this.#offset % SYNC_BYTES !== 0) return
    await this.#disk.sync(this.#path)
    if (this.#isNamed) return
    await this.#disk.syncFolder(dirname(this.#path))
    this.#isNamed = true
  }
}

/** Where the body begins and how long the whole is; undefined where the server does not say. */
function extentOf({ status, headers }: HttpResponse, wanted: Wanted, have: number): { start: number; total?: number } {
  if (status === 206) {
    const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(String(headers['content-range']))
    if (match === null || Number(match[1]) > have)
      throw new TransportError(
        `Cannot fetch "${wanted.url}": found range "${headers['content-range']}", expected one from ${have} on`,
        { retryable: true },
      )
    return { start: Number(match[1]), total: Number(match[2]) }
  }
  // Somebody on the way ignores ranges, or the content is new: what comes is the whole.
  if (status === 200) {
    const length = headers['content-length']
    return { start: 0, ...(typeof length === 'string' ? { total: Number(length) } : {}) }
  }
  throw new TransportError(`Cannot fetch "${wanted.url}": found status ${status}, expected 200 or 206`, {
    // Asked for too much, too often, or the server has trouble of its own: later may be better. Others stay as they are.
    retryable: status >= 500 || status === 408 || status === 416 || status === 425 || status === 429,
  })
}

/**
 * Fetch a file, or the rest of it, in one connection. What came is kept whatever happens; the next call goes on there.
 * Whether the bytes are the right ones is for the caller to see.
 *
 * @returns Bytes of the whole, which is then on the medium.
 * @throws {TransportError} If the connection broke, stalled, or the server refused; `retryable` says which.
 * @throws {IntegrityError} If there is more than there should be.
 */
export async function download(wanted: Wanted, means: Means): Promise<number> {
  const { disk, get, signal, stallMs = STALL_MS, onBytes = () => undefined } = means
  const have = (await disk.sizeOf(wanted.path)) ?? 0
  if (have > 0 && have === wanted.bytes) {
    await disk.sync(wanted.path)
    return have
  }
  const stall = new StallWatch(stallMs, signal)
  try {
    const range = { range: `bytes=${have}-`, 'if-range': `"${wanted.etag}"` }
    const answer = await get(wanted.url, { headers: have > 0 ? range : {}, signal: stall.signal })
    if (answer.status === 416) await disk.remove(wanted.path)
    const { start, total } = extentOf(answer, wanted, have)
    const expected = wanted.bytes ?? total
    const limit = expected ?? wanted.maxBytes
    if (limit > wanted.maxBytes || (total !== undefined && total !== limit))
      throw new IntegrityError(
        `Cannot fetch "${wanted.url}": found ${total ?? limit} bytes, expected ${wanted.bytes ?? `at most ${wanted.maxBytes}`}`,
      )
    const end = await receive(answer.body, {
      path: wanted.path,
      have,
      start,
      limit,
      disk,
      stall,
      onBytes,
      url: wanted.url,
    })
    if (end !== (expected ?? end))
      throw new TransportError(`Cannot fetch "${wanted.url}": the connection ended at ${end} of ${expected} bytes`, {
        retryable: true,
      })
    await disk.sync(wanted.path)
    return end
  } catch (error) {
    if (signal.aborted) throw signal.reason
    // An abort of our own: why is in the reason, not in what the connection made of it.
    throw stall.signal.aborted ? stall.signal.reason : error
  } finally {
    stall.end()
  }
}

async function receive(
  body: HttpResponse['body'],
  {
    path,
    have,
    start,
    limit,
    disk,
    stall,
    onBytes,
    url,
  }: {
    readonly path: string
    readonly have: number
    readonly start: number
    readonly limit: number
    readonly disk: Disk
    readonly stall: StallWatch
    readonly onBytes: (bytes: number) => void
    readonly url: string
  },
): Promise<number> {
  const writer = new AlignedWriter(disk, path, have)
  // What is here already is not written again: flash wears, and the digest tells if it was wrong.
  let skip = have - start
  try {
    for await (const chunk of body) {
      stall.alive()
      onBytes(chunk.byteLength)
      const fresh = chunk.subarray(Math.min(skip, chunk.byteLength))
      skip -= chunk.byteLength - fresh.byteLength
      if (writer.end + fresh.byteLength > limit)
        throw new IntegrityError(`Cannot fetch "${url}": found more than ${limit} bytes`)
      await writer.write(fresh)
    }
  } catch (error) {
    await writer.flush()
    if (error instanceof IntegrityError || (error as { code?: string }).code === undefined) throw error
    // Of the disk: ENOSPC, EIO. Of the connection: ECONNRESET, ERR_STREAM_PREMATURE_CLOSE and the like.
    if (isOfDisk(error)) throw error
    throw new TransportError(`Cannot fetch "${url}": ${describeError(error)}`, { cause: error, retryable: true })
  }
  await writer.flush()
  return writer.end
}

const DISK_CODES = new Set(['ENOSPC', 'EIO', 'EDQUOT', 'EROFS', 'EFBIG', 'ENOENT', 'EACCES', 'EPERM', 'EMFILE'])

export function isOfDisk(error: unknown): boolean {
  return DISK_CODES.has(String((error as { code?: unknown }).code))
}
