import { setTimeout as delay } from 'node:timers/promises'
import { describeError, IntegrityError, StoreError, TransportError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import type { BlobEntry } from '@espalier/shared/manifest/blob'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { SIGNATURE_FILE } from '@espalier/shared/signature/manifest-signature'
import { BackOff } from '../back-off.ts'
import type { Disk } from './disk.ts'
import { download, isOfDisk, type Means, SYNC_BYTES, type Wanted } from './download.ts'
import type { FamilyStore } from './family-store.ts'
import type { HttpGet } from './http-get.ts'

/** Real ones are below 100 KB. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024
const MAX_SIGNATURE_BYTES = 4096
/** A server that says no so often will not say yes. */
const MAX_REFUSALS = 4
/** Connections that gave bytes and yet took a file no further: somebody on the way ignores ranges and cuts, for money. */
const MAX_FRUITLESS = 5
/** A blob that is wrong so often is wrong at the source, and every try is paid for. */
const MAX_WRONG = 2
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 5 * 60_000
/** How often what holds a download back is looked at again. */
const WAIT_AGAIN_MS = 15_000

export interface FetchProgress {
  readonly neededBytes: number
  /** Of those, here. */
  readonly fetchedBytes: number
  /** Why it does not go on at the moment. */
  readonly reason?: string | undefined
}

export interface FetchOptions {
  readonly store: FamilyStore
  readonly disk: Disk
  readonly get: HttpGet
  /** Folder on the web, with or without a slash at its end. */
  readonly url: string
  readonly manifestDigest: Digest
  /** Whether a signature is asked for. */
  readonly isSigned: boolean
  /** Versions that must stay when room is made. */
  readonly pinned: ReadonlySet<Digest>
  /** Why the download must wait; undefined if it may go on. */
  readonly findObstacle: (now: { readonly neededBytes: number; readonly remainingBytes: number }) => string | undefined
  readonly signal: AbortSignal
  readonly onProgress: (progress: FetchProgress) => void
  /** In [0, 1). */
  readonly random: () => number
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
  readonly stallMs?: number
}

const sleepFor = async (ms: number, signal: AbortSignal): Promise<void> => {
  await delay(ms, undefined, { signal })
}

/** One version on its way into the store. */
class Fetching {
  readonly #options: FetchOptions
  #progress: FetchProgress = { neededBytes: 0, fetchedBytes: 0 }

  constructor(options: FetchOptions) {
    this.#options = options
  }

  async run(): Promise<Manifest> {
    const { store, manifestDigest } = this.#options
    const manifest = await this.#manifest()
    const missing = await this.#copyInstalled(await store.missing(manifest))
    const needed = missing.reduce((sum, { bytes }) => sum + bytes, 0)
    this.#say({ neededBytes: needed, fetchedBytes: await this.#partialBytes(missing) })
    await this.#retry(() => store.makeRoom(missing, new Set([...this.#options.pinned, manifestDigest])))
    let unsettled = 0
    for (const [i, entry] of missing.entries()) {
      await this.#blob(entry)
      unsettled += entry.bytes
      if (unsettled < SYNC_BYTES && i < missing.length - 1) continue
      await this.#retry(() => store.settle())
      unsettled = 0
    }
    return manifest
  }

  get #means(): Means {
    const { disk, get, signal, stallMs } = this.#options
    return { disk, get, signal, ...(stallMs === undefined ? {} : { stallMs }) }
  }

  #urlOf(name: string): string {
    return new URL(name, this.#options.url.endsWith('/') ? this.#options.url : `${this.#options.url}/`).href
  }

  #say(progress: Partial<FetchProgress>): void {
    this.#progress = { ...this.#progress, reason: undefined, ...progress }
    this.#options.onProgress(this.#progress)
  }

  async #partialBytes(missing: readonly BlobEntry[]): Promise<number> {
    const { store } = this.#options
    let sum = 0
    for (const { sha256, bytes } of missing) sum += await store.resume(store.partialPath(sha256), bytes)
    return sum
  }

  async #manifest(): Promise<Manifest> {
    const { store, manifestDigest, disk, isSigned } = this.#options
    if (await store.hasManifest(manifestDigest)) {
      const known = await store.open(manifestDigest).catch((error: unknown) => {
        if (error instanceof IntegrityError) return undefined
        throw error
      })
      if (known !== undefined) return known.manifest
    }
    await this.#wait(0, 1)
    const path = store.partialPath(`${manifestDigest}.manifest`)
    const wanted = { url: this.#urlOf('manifest.json'), etag: manifestDigest, maxBytes: MAX_MANIFEST_BYTES, path }
    return this.#untilRight(path, async () => {
      await store.resume(path, undefined)
      const size = await this.#fetch(wanted)
      const signature = isSigned ? await this.#signature() : undefined
      const manifest = await store.acceptManifest(manifestDigest, await disk.read(path, 0, size), signature)
      await disk.remove(path)
      return manifest
    })
  }

  async #signature(): Promise<Uint8Array> {
    const { store, disk, manifestDigest } = this.#options
    const path = store.partialPath(`${manifestDigest}.signature`)
    // Small: always anew, so that one that was replaced is not mixed with what it replaced.
    await disk.remove(path)
    const url = this.#urlOf(SIGNATURE_FILE)
    const size = await this.#fetch({ url, etag: `${manifestDigest}-signature`, maxBytes: MAX_SIGNATURE_BYTES, path })
    const signature = await disk.read(path, 0, size)
    await disk.remove(path)
    return signature
  }

  async #copyInstalled(missing: readonly BlobEntry[]): Promise<BlobEntry[]> {
    const { store } = this.#options
    const left: BlobEntry[] = []
    for (const entry of missing) if (!(await this.#retry(() => store.copyInstalled(entry)))) left.push(entry)
    return left
  }

  async #blob(entry: BlobEntry): Promise<void> {
    const { store } = this.#options
    const path = store.partialPath(entry.sha256)
    const url = this.#urlOf(`blobs/${entry.sha256}`)
    await this.#wait(await store.resume(path, entry.bytes), entry.bytes)
    await this.#untilRight(path, async () => {
      await this.#fetch({ url, etag: entry.sha256, bytes: entry.bytes, maxBytes: entry.bytes, path })
      await store.acceptBlob(entry)
    })
  }

  /** Until the whole file is there: a connection that breaks is no failure, however often, while the server answers. */
  async #fetch(wanted: Wanted): Promise<number> {
    const backOff = new BackOff(FIRST_RETRY_MS, MAX_RETRY_MS)
    let refusals = 0
    let fruitless = 0
    for (;;) {
      const before = await this.#sizeOf(wanted.path)
      let came = 0
      try {
        const onBytes = (bytes: number): void => {
          came += bytes
          this.#say({ fetchedBytes: Math.min(this.#progress.neededBytes, this.#progress.fetchedBytes + bytes) })
        }
        if (wanted.bytes === 0) {
          await this.#options.disk.write(wanted.path, 0, new Uint8Array())
          return 0
        }
        return await download(wanted, { ...this.#means, onBytes })
      } catch (error) {
        this.#options.signal.throwIfAborted()
        if (!(error instanceof TransportError) && !isOfDisk(error)) throw error
        if (error instanceof TransportError && !error.retryable && ++refusals >= MAX_REFUSALS) throw error
        const hasGrown = (await this.#sizeOf(wanted.path)) > before
        if (hasGrown) [fruitless] = [0, backOff.reset()]
        else if (came > 0 && ++fruitless >= MAX_FRUITLESS)
          throw new TransportError(
            `Cannot fetch "${wanted.url}": ${fruitless} connections broke before the ${before} bytes that are here, and none began there; is a proxy in the way?`,
            { cause: error, retryable: false },
          )
        // A link that is cut now and then goes on soon; one that gives nothing is left alone for longer and longer.
        await this.#pause(backOff.next(), error)
      }
    }
  }

  async #sizeOf(path: string): Promise<number> {
    return (await this.#options.disk.sizeOf(path)) ?? 0
  }

  /** What is wrong is fetched again, but not for ever. */
  async #untilRight<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
    for (let wrong = 1; ; wrong++) {
      try {
        return await this.#retry(work)
      } catch (error) {
        if (!(error instanceof IntegrityError) || wrong >= MAX_WRONG) throw error
        await this.#options.disk.remove(path)
        await this.#pause(FIRST_RETRY_MS, error)
      }
    }
  }

  /** A disk that is full, or fails for once, may do later. */
  async #retry<Result>(work: () => Promise<Result>): Promise<Result> {
    const backOff = new BackOff(FIRST_RETRY_MS, MAX_RETRY_MS)
    for (;;) {
      try {
        return await work()
      } catch (error) {
        this.#options.signal.throwIfAborted()
        if (!isOfDisk(error) && !(error instanceof StoreError && error.retryable)) throw error
        await this.#pause(backOff.next(), error)
      }
    }
  }

  async #pause(ms: number, error: unknown): Promise<void> {
    this.#say({ reason: describeError(error).slice(0, 500) })
    await (this.#options.sleep ?? sleepFor)(ms * (0.75 + this.#options.random() / 2), this.#options.signal)
  }

  /** While metered links, hours or caps say no. */
  async #wait(here: number, bytes: number): Promise<void> {
    const { findObstacle, signal, sleep = sleepFor } = this.#options
    for (;;) {
      signal.throwIfAborted()
      const { neededBytes, fetchedBytes } = this.#progress
      const remainingBytes = Math.max(neededBytes - fetchedBytes, bytes - here)
      const reason = findObstacle({ neededBytes: Math.max(neededBytes, remainingBytes), remainingBytes })
      if (reason === undefined) return
      this.#say({ reason })
      await sleep(WAIT_AGAIN_MS, signal)
    }
  }
}

/**
 * Bring a version of a family into the store, taking as long as it takes: what is here is not fetched again, broken
 * connections go on where they broke, and a full disk or a closed hour is waited for with a reason.
 *
 * @throws {IntegrityError} If manifest, signature or a blob is wrong at the source.
 * @throws {TransportError} If the server says for good that it has no such thing, or not for this device.
 * @throws `signal.reason` when aborted.
 */
export function fetchVersion(options: FetchOptions): Promise<Manifest> {
  return new Fetching(options).run()
}
