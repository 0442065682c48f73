import { TransportError } from '@espalier/shared/errors'
import { readStored } from '../page-disk.ts'

/** Families are named by their digests, so what was fetched once is right for ever. */
const CACHE = 'espalier-families'

/** Blobs of all versions lie in one folder of the store, to which that of each version leads. */
const placeOf = (path: string): string => path.replace(/\/families\/[0-9a-f]{64}\/blobs\//, '/blobs/')

/** Of `node:fs/promises`: `placeOf` knows where it leads. */
export const symlink = async (_target: string, _path: string, _kind: string): Promise<void> => undefined

/** Of `node:fs/promises`: a file of a family, in the page's store or at an address of the controller. */
export async function readFile(path: string): Promise<Uint8Array> {
  if (!path.startsWith('/')) {
    const stored = await readStored(placeOf(path))
    if (stored !== undefined) return stored
    throw Object.assign(new Error(`ENOENT: no such file '${path}'`), { code: 'ENOENT' })
  }
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
