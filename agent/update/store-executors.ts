import { describeError, IntegrityError, TransportError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import type { FamilyOrder } from '@espalier/shared/messages/controller'
import { isOfDisk } from '../store/download.ts'
import type { FamilyStore } from '../store/family-store.ts'
import { type FetchOptions, type FetchProgress, fetchVersion } from '../store/fetch-version.ts'
import type { UpdateEvent } from './transition.ts'
import type { Executors } from './updater.ts'

export interface StoreExecutorOptions
  extends Omit<FetchOptions, 'url' | 'manifestDigest' | 'pinned' | 'signal' | 'onProgress'> {
  /** Where versions are whose order does not say. */
  readonly defaultUrl: (digest: Digest) => string
  /** Of all slots of this device. */
  readonly pinned: () => ReadonlySet<Digest>
  readonly onProgress: (progress: FetchProgress) => void
}

/** Downloads of one device go one after the other: two slots may want the same blob. */
const lastFetch = new WeakMap<FamilyStore, Promise<unknown>>()

async function inTurn<Result>(store: FamilyStore, signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
  const before = lastFetch.get(store) ?? Promise.resolve()
  const result = before.then(() => {
    signal.throwIfAborted()
    return work()
  })
  lastFetch.set(
    store,
    result.catch(() => undefined),
  )
  return result
}

async function fetchOrder(
  { manifestDigest, url }: FamilyOrder,
  options: StoreExecutorOptions,
  signal: AbortSignal,
): Promise<UpdateEvent> {
  const { store, defaultUrl, pinned, ...rest } = options
  try {
    await inTurn(store, signal, () =>
      fetchVersion({
        ...rest,
        store,
        signal,
        manifestDigest,
        pinned: pinned(),
        url: url ?? defaultUrl(manifestDigest),
      }),
    )
    return { kind: 'fetched' }
  } catch (error) {
    if (!(error instanceof IntegrityError || error instanceof TransportError)) throw error
    return { kind: 'unfetchable', reason: describeError(error) }
  }
}

/** The steps that bring a version to this device's disk and look at it there. */
export function storeExecutors(options: StoreExecutorOptions): Pick<Executors, 'fetch' | 'verify'> {
  const { store } = options
  return {
    fetch: ({ order }, signal) => fetchOrder(order, options, signal),
    async verify({ digest }) {
      try {
        await store.verify(digest)
        return { kind: 'verified' }
      } catch (error) {
        if (!(error instanceof IntegrityError || isOfDisk(error))) throw error
        return { kind: 'corrupt', reason: describeError(error) }
      }
    },
  }
}
