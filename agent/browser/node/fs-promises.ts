import { TransportError } from '@espalier/shared/errors'

/** Families are named by their digests, so what was fetched once is right for ever. */
const CACHE = 'espalier-families'

/** Of `node:fs/promises`: a file of a family, whose folder is an address of the controller. */
export async function readFile(path: string): Promise<Uint8Array> {
  // Absent where the page is not of a secure origin.
  const cache = await globalThis.caches?.open(CACHE)
  const kept = await cache?.match(path)
  if (kept !== undefined) return new Uint8Array(await kept.arrayBuffer())
  const response = await fetch(path, { cache: 'no-store' })
  if (!response.ok) throw new TransportError(`Cannot fetch "${path}": HTTP ${response.status}`, { retryable: true })
  // A full disk costs another fetch the next time, nothing else.
  await cache?.put(path, response.clone()).catch(() => undefined)
  return new Uint8Array(await response.arrayBuffer())
}
