import { describeError, IntegrityError } from '../errors.ts'
import type { Digest } from '../ids.ts'
import { canonicalJson, type Manifest, parseManifest } from './manifest.ts'

/** The bytes of `manifest.json` or `blobs/<sha256>`, wherever a family lies; rejects when there are none. */
export type FamilySource = (name: string) => Promise<Uint8Array>

/** A family that was opened: its manifest, and its blobs when they are asked for. */
export interface Family {
  readonly manifest: Manifest
  readonly manifestDigest: Digest
  /** What a stream must name to be decoded by this family: everything that decoding depends on, and nothing else. */
  readonly codecDigest: Digest
  /** @throws {IntegrityError} If the blob is absent or its bytes are not those of its digest. */
  readBlob(entry: { sha256: string; bytes: number }): Promise<Uint8Array>
}

/** Of Web Crypto, which Node and browsers share; a page must be served from a secure origin or this machine to have it. */
async function sha256(data: Uint8Array): Promise<Digest> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') as Digest
}

function digestOf(part: unknown): Promise<Digest> {
  return sha256(new TextEncoder().encode(canonicalJson(part)))
}

function decodingPart({ family, decoders, adapters, tensors, entropy, latent }: Manifest): unknown {
  // Streams are made for the full decoder; a light one may be added or changed without their notice.
  const decoder = decoders.full
  const names = new Set(Object.values(decoder.weights))
  const updates = adapters.map((adapter) => ({
    id: adapter.id,
    updates: Object.fromEntries(Object.entries(adapter.updates).filter(([name]) => names.has(name))),
  }))
  for (const { updates: named } of updates)
    for (const update of Object.values(named))
      for (const [field, name] of Object.entries(update)) if (field !== 'kind') names.add(name)
  const used = Object.fromEntries([...names].map((name) => [name, tensors[name]]))
  return { family, decoder, updates, tensors: used, entropy, channels: latent.channels, stride: latent.stride }
}

/** What went wrong, in a word where the system has one. */
function reasonOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : describeError(cause)
}

/**
 * Open a family.
 *
 * @param from A folder, which only Node can read, or anything that gives the family's files by name.
 * @throws {IntegrityError} If there is no readable manifest of this format.
 */
export async function openFamily(from: string | FamilySource): Promise<Family> {
  // Loaded when it is needed: a browser has no file system.
  const source = typeof from === 'string' ? (await import('./folder-source.ts')).folderSource(from) : from
  const name = typeof from === 'string' ? from : 'manifest.json'
  const text = await source('manifest.json').catch((cause: unknown) => {
    throw new IntegrityError(`Cannot open family "${name}": ${reasonOf(cause)} reading manifest.json`, { cause })
  })
  const manifest = parseManifest(new TextDecoder().decode(text), name)
  return {
    manifest,
    manifestDigest: await digestOf(manifest),
    codecDigest: await digestOf(decodingPart(manifest)),
    async readBlob(entry) {
      const data = await source(`blobs/${entry.sha256}`).catch((cause: unknown) => {
        throw new IntegrityError(`Cannot read blob "${entry.sha256}" of "${manifest.family}": ${reasonOf(cause)}`, {
          cause,
        })
      })
      const found = await sha256(data)
      if (found !== entry.sha256)
        throw new IntegrityError(
          `Cannot read blob "${entry.sha256}" of "${manifest.family}": found digest ${found} over ${data.length} bytes, expected ${entry.bytes} bytes`,
        )
      return data
    },
  }
}
