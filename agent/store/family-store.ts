import { createHash } from 'node:crypto'
import { symlink } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { IntegrityError, StoreError } from '@espalier/shared/errors'
import { type Digest, digestSchema } from '@espalier/shared/ids'
import type { BlobEntry } from '@espalier/shared/manifest/blob'
import { deviceBlobs } from '@espalier/shared/manifest/device-blobs'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { type Family, type FamilyCheck, type FamilySource, openFamily } from '@espalier/shared/manifest/open-family'
import { SIGNATURE_FILE } from '@espalier/shared/signature/manifest-signature'
import type { Disk } from './disk.ts'
import { SYNC_BYTES } from './download.ts'

/** Blobs are read, hashed and copied in pieces of this: a model is never held in memory whole by the store. */
const PIECE_BYTES = 1024 * 1024

export interface FamilyStoreOptions {
  readonly disk: Disk
  /** Folder of the store. */
  readonly folder: string
  /** Folders of families that came with the software: read, never written, and no part of the quota. */
  readonly installed: readonly string[]
  readonly maxBytes: number
  /** Never filled: logs, the spool and the system need it too. */
  readonly reserveBytes: number
  /** Absent: no signature is asked for. */
  readonly check?: FamilyCheck | undefined
  /** Makes `blobs` of a version's folder lead to the blobs of all versions. */
  readonly linkFolder?: (target: string, path: string) => Promise<void>
}

/** A name that is there already is as good. */
async function linkFolder(target: string, path: string): Promise<void> {
  await symlink(target, path, 'junction').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}

const totalBytes = (entries: readonly BlobEntry[]): number => entries.reduce((sum, { bytes }) => sum + bytes, 0)

/**
 * Versions of families on this device: `families/<manifest digest>/` with manifest and signature, `blobs/<sha256>` of
 * all of them, `partial/` with what is on its way. A name in `blobs` appears by renaming what was hashed and synced.
 */
export class FamilyStore {
  readonly #options: FamilyStoreOptions
  /** Partial files of which this process wrote all that it did not find synced. */
  readonly #known = new Set<string>()
  /** Versions of which all blobs were hashed by this process. */
  readonly #whole = new Set<Digest>()

  constructor(options: FamilyStoreOptions) {
    this.#options = options
  }

  blobPath(sha256: string): string {
    return join(this.#options.folder, 'blobs', sha256)
  }

  partialPath(name: string): string {
    return join(this.#options.folder, 'partial', name)
  }

  #familyFolder(digest: string): string {
    return join(this.#options.folder, 'families', digest)
  }

  /** The files of a version by name. */
  sourceOf(digest: Digest): FamilySource {
    return (name) =>
      this.#readWhole(
        name.startsWith('blobs/') ? this.blobPath(name.slice('blobs/'.length)) : join(this.#familyFolder(digest), name),
      )
  }

  /** A folder as `openFamily` takes it, for a worker. */
  async folderOf(digest: Digest): Promise<string> {
    const folder = this.#familyFolder(digest)
    const blobs = join(folder, 'blobs')
    await (this.#options.linkFolder ?? linkFolder)(relative(folder, join(this.#options.folder, 'blobs')), blobs)
    return folder
  }

  async hasManifest(digest: Digest): Promise<boolean> {
    return (await this.#options.disk.sizeOf(join(this.#familyFolder(digest), 'manifest.json'))) !== undefined
  }

  /**
   * @throws {IntegrityError} If there is no manifest, or not that of the digest, or nobody trusted signed it.
   */
  open(digest: Digest): Promise<Family> {
    return this.#openFrom(this.sourceOf(digest), digest)
  }

  async #openFrom(source: FamilySource, digest: Digest): Promise<Family> {
    const family = await openFamily(source, this.#options.check)
    if (family.manifestDigest !== digest)
      throw new IntegrityError(
        `Cannot use family "${family.manifest.family}": found digest ${family.manifestDigest}, expected ${digest}`,
      )
    return family
  }

  /**
   * Take a manifest in that was fetched, with its signature.
   *
   * @throws {IntegrityError} As `open`; nothing is kept then.
   */
  async acceptManifest(digest: Digest, manifest: Uint8Array, signature: Uint8Array | undefined): Promise<Manifest> {
    const given = new Map([['manifest.json', manifest], ...(signature ? [[SIGNATURE_FILE, signature] as const] : [])])
    const { manifest: parsed } = await this.#openFrom(async (name) => {
      const bytes = given.get(name)
      if (bytes === undefined) throw Object.assign(new Error(`no ${name}`), { code: 'ENOENT' })
      return bytes
    }, digest)
    const folder = this.#familyFolder(digest)
    // The manifest last: what has one is complete.
    for (const [name, bytes] of [...given].reverse()) await this.#writeWhole(join(folder, name), bytes)
    await this.#options.disk.syncFolder(join(this.#options.folder, 'families'))
    return parsed
  }

  /** Blobs that this device needs of a version and does not have; sizes are looked at, contents by `verify`. */
  async missing(manifest: Manifest): Promise<BlobEntry[]> {
    const entries: BlobEntry[] = []
    for (const entry of deviceBlobs(manifest))
      if ((await this.#options.disk.sizeOf(this.blobPath(entry.sha256))) !== entry.bytes) entries.push(entry)
    return entries
  }

  /** Bytes of a partial file that may be built upon: after a start, only what was synced for certain. */
  async resume(path: string, bytes: number | undefined): Promise<number> {
    const { disk } = this.#options
    const size = (await disk.sizeOf(path)) ?? 0
    if (!this.#known.has(path) && size !== bytes && size > 0) {
      // A power loss may have left the length of what was not synced, but not its contents.
      const synced = size - (size % SYNC_BYTES)
      if (synced === 0) await disk.remove(path)
      else await disk.truncate(path, synced)
    }
    this.#known.add(path)
    return (await disk.sizeOf(path)) ?? 0
  }

  /**
   * Take in a blob that is complete in `partial/` and synced.
   *
   * @throws {IntegrityError} If its bytes are not those of its digest; it is thrown away.
   */
  async acceptBlob({ sha256, bytes }: BlobEntry): Promise<void> {
    const { disk } = this.#options
    const partial = this.partialPath(sha256)
    const found = await this.#hash(partial)
    if (found !== sha256) {
      await disk.remove(partial)
      throw new IntegrityError(
        `Cannot take blob "${sha256}": found digest ${found}, expected ${bytes} bytes of its own`,
      )
    }
    await disk.rename(partial, this.blobPath(sha256))
  }

  /** After blobs were taken in: their names survive a power loss from now on. */
  async settle(): Promise<void> {
    const { disk, folder } = this.#options
    await disk.syncFolder(join(folder, 'blobs'))
  }

  /** Copy a blob that came with the software instead of fetching it. @returns False where it did not, or is damaged. */
  async copyInstalled(entry: BlobEntry): Promise<boolean> {
    const { disk, installed } = this.#options
    for (const folder of installed) {
      const from = join(folder, 'blobs', entry.sha256)
      if ((await disk.sizeOf(from)) !== entry.bytes) continue
      if ((await this.#hash(from)) !== entry.sha256) continue
      const to = this.partialPath(entry.sha256)
      await disk.remove(to)
      for (let at = 0; at < entry.bytes; at += PIECE_BYTES)
        await disk.write(to, at, await disk.read(from, at, PIECE_BYTES))
      if (entry.bytes === 0) await disk.write(to, 0, new Uint8Array())
      await disk.sync(to)
      await this.acceptBlob(entry)
      return true
    }
    return false
  }

  /**
   * Hash every blob that this device needs of a version; those that are wrong are removed.
   *
   * @throws {IntegrityError} If the manifest cannot be trusted, or blobs are absent or were wrong.
   */
  async verify(digest: Digest): Promise<Family> {
    const { disk } = this.#options
    this.#whole.delete(digest)
    const family = await this.open(digest).catch(async (error: unknown) => {
      // Fetched again with the rest; the blobs stay.
      if (error instanceof IntegrityError) await disk.remove(this.#familyFolder(digest))
      throw error
    })
    const wrong: string[] = []
    for (const { sha256, bytes } of deviceBlobs(family.manifest)) {
      const size = await disk.sizeOf(this.blobPath(sha256))
      if (size === bytes && (await this.#hash(this.blobPath(sha256))) === sha256) continue
      await disk.remove(this.blobPath(sha256))
      wrong.push(sha256)
    }
    if (wrong.length > 0)
      throw new IntegrityError(
        `Cannot trust the store with "${family.manifest.family}" ${family.manifest.version}: ${wrong.length} blobs are absent or damaged, among them "${wrong[0]}"`,
      )
    this.#whole.add(digest)
    return family
  }

  /** Whether `verify` found all of it, since this process started. */
  isWhole(digest: Digest): boolean {
    return this.#whole.has(digest)
  }

  /** The version is used now: others go first when room is needed. */
  async touch(digest: Digest): Promise<void> {
    const recent = await this.#recent()
    if (recent[0] === digest) return
    const text = JSON.stringify([digest, ...recent.filter((other) => other !== digest)].slice(0, 64))
    await this.#writeWhole(join(this.#options.folder, 'recent.json'), new TextEncoder().encode(text))
  }

  /** Bytes of blobs and of what is on its way. */
  async bytes(): Promise<number> {
    const { disk, folder } = this.#options
    let sum = 0
    for (const part of ['blobs', 'partial'])
      for (const name of await disk.list(join(folder, part))) sum += (await disk.sizeOf(join(folder, part, name))) ?? 0
    return sum
  }

  /**
   * Make room for what a version still needs: first what belongs to no version, then the versions that were not used
   * for longest.
   *
   * @param missing Of the version that is to come.
   * @param pinned Versions that stay, the coming one among them.
   * @throws {StoreError} If there is not enough without those; what could go is gone then.
   */
  async makeRoom(missing: readonly BlobEntry[], pinned: ReadonlySet<Digest>): Promise<void> {
    const { disk, folder, maxBytes, reserveBytes } = this.#options
    const coming = new Set(missing.map(({ sha256 }) => sha256))
    let here = 0
    for (const sha256 of coming) here += (await disk.sizeOf(this.partialPath(sha256))) ?? 0
    const needed = totalBytes(missing) - here
    const lacking = async (): Promise<string | undefined> => {
      const used = await this.bytes()
      if (used + needed > maxBytes)
        return `found ${used} bytes of at most ${maxBytes} in use, expected room for ${needed} more`
      const free = await disk.freeBytes(folder)
      return free - reserveBytes < needed
        ? `found ${free} bytes free on the disk, expected ${needed} and a reserve of ${reserveBytes}`
        : undefined
    }
    if ((await lacking()) === undefined) return
    await this.#removeUnused(await this.#versions(), coming)
    // Those used last come first, those never used last of all.
    const recent = await this.#recent()
    const rank = (digest: Digest): number => (recent.includes(digest) ? recent.indexOf(digest) : recent.length)
    const evictable = (await this.#versions()).filter((digest) => !pinned.has(digest))
    evictable.sort((a, b) => rank(b) - rank(a))
    for (const digest of evictable) {
      if ((await lacking()) === undefined) return
      await disk.remove(this.#familyFolder(digest))
      await disk.syncFolder(join(folder, 'families'))
      this.#whole.delete(digest)
      await this.#removeUnused(await this.#versions(), coming)
    }
    const reason = await lacking()
    if (reason !== undefined) throw new StoreError(`Cannot make room in the store: ${reason}`, { retryable: true })
  }

  async #versions(): Promise<Digest[]> {
    const names = await this.#options.disk.list(join(this.#options.folder, 'families'))
    return names.flatMap((name) => digestSchema.safeParse(name).data ?? [])
  }

  async #removeUnused(versions: readonly Digest[], coming: ReadonlySet<string>): Promise<void> {
    const { disk, folder } = this.#options
    const used = new Set(coming)
    for (const digest of versions) {
      const family = await this.open(digest).catch((error: unknown) => {
        if (error instanceof IntegrityError) return undefined
        throw error
      })
      // Nothing is thrown away on the word of a manifest that cannot be read: the version goes as a whole, in its turn.
      for (const { sha256 } of family === undefined ? [] : deviceBlobs(family.manifest)) used.add(sha256)
    }
    for (const part of ['partial', 'blobs'])
      for (const name of await disk.list(join(folder, part)))
        if (!used.has(name)) await disk.remove(join(folder, part, name))
  }

  async #recent(): Promise<Digest[]> {
    try {
      const text = new TextDecoder().decode(await this.#readWhole(join(this.#options.folder, 'recent.json')))
      return digestSchema.array().parse(JSON.parse(text))
    } catch {
      // Absent, torn or damaged: it only says what may go first.
      return []
    }
  }

  async #readWhole(path: string): Promise<Uint8Array> {
    const { disk } = this.#options
    const size = await disk.sizeOf(path)
    if (size === undefined) throw Object.assign(new Error(`no file "${path}"`), { code: 'ENOENT' })
    return disk.read(path, 0, size)
  }

  async #writeWhole(path: string, bytes: Uint8Array): Promise<void> {
    const { disk } = this.#options
    const aside = `${path}.new`
    await disk.remove(aside)
    await disk.write(aside, 0, bytes)
    await disk.sync(aside)
    await disk.rename(aside, path)
    await disk.syncFolder(join(path, '..'))
  }

  async #hash(path: string): Promise<string> {
    const { disk } = this.#options
    const hash = createHash('sha256')
    for (let at = 0; ; ) {
      const piece = await disk.read(path, at, PIECE_BYTES)
      if (piece.byteLength === 0) return hash.digest('hex')
      hash.update(piece)
      at += piece.byteLength
    }
  }
}
