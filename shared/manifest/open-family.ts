import { describeError, IntegrityError } from '../errors.ts'
import type { Digest } from '../ids.ts'
import type { ClassifierManifest } from './classifier-manifest.ts'
import type { CodecManifest } from './codec-manifest.ts'
import { decodingPart } from './decoding-part.ts'
import { canonicalJson, type Manifest, parseManifest } from './manifest.ts'

/** The bytes of `manifest.json` or `blobs/<sha256>`, wherever a family lies; rejects when there are none. */
export type FamilySource = (name: string) => Promise<Uint8Array>

/** Looks at a manifest before it is read; rejects with an IntegrityError to refuse it. */
export type FamilyCheck = (manifestText: string, name: string, source: FamilySource) => Promise<void>

/** A family that was opened: its manifest, and its blobs when they are asked for. */
interface FamilyOf<AnyManifest extends Manifest> {
  readonly manifest: AnyManifest
  readonly manifestDigest: Digest
  /** @throws {IntegrityError} If the blob is absent or its bytes are not those of its digest. */
  readBlob(entry: { readonly sha256: string; readonly bytes: number }): Promise<Uint8Array>
}

export interface CodecFamily extends FamilyOf<CodecManifest> {
  /** What a stream must name to be decoded by this family: everything that decoding depends on, and nothing else. */
  readonly codecDigest: Digest
}

export type ClassifierFamily = FamilyOf<ClassifierManifest>

/** `isCodecFamily` and the like say which. */
export type Family = CodecFamily | ClassifierFamily

/** Of Web Crypto, which Node and browsers share; a page must be served from a secure origin or this machine to have it. */
async function sha256(data: Uint8Array): Promise<Digest> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') as Digest
}

function digestOf(part: unknown): Promise<Digest> {
  return sha256(new TextEncoder().encode(canonicalJson(part)))
}

/** What went wrong, in a word where the system has one. */
function reasonOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : describeError(cause)
}

/**
 * Open a family.
 *
 * @param from A folder, which only Node can read, or anything that gives the family's files by name.
 * @param check Absent: whoever may write the folder is trusted; shared/signature has one that asks for a signature.
 * @throws {IntegrityError} If there is no readable manifest of this format.
 */
export async function openFamily(from: string | FamilySource, check?: FamilyCheck): Promise<Family> {
  // Loaded when it is needed: a browser has no file system.
  const source = typeof from === 'string' ? (await import('./folder-source.ts')).folderSource(from) : from
  const name = typeof from === 'string' ? from : 'manifest.json'
  const bytes = await source('manifest.json').catch((cause: unknown) => {
    throw new IntegrityError(`Cannot open family "${name}": ${reasonOf(cause)} reading manifest.json`, { cause })
  })
  const text = new TextDecoder().decode(bytes)
  const manifest = parseManifest(text, name)
  await check?.(text, name, source)
  const opened: Omit<FamilyOf<Manifest>, 'manifest'> = {
    manifestDigest: await digestOf(manifest),
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
  return manifest.task === 'image-codec'
    ? { manifest, ...opened, codecDigest: await digestOf(decodingPart(manifest)) }
    : { manifest, ...opened }
}
