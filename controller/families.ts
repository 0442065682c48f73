import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import { type Family, type FamilyCheck, openFamily } from '@espalier/shared/manifest/open-family'
import type { Logger } from 'pino'

/** One version of a family. */
export type KnownFamily = Family & { readonly directory: string }

export interface FamilyScan {
  readonly added: readonly KnownFamily[]
  readonly removed: readonly KnownFamily[]
  /** Folders that hold no version that can be used, and why. */
  readonly refused: readonly { readonly directory: string; readonly reason: string }[]
}

/** The families of one folder: each folder in it is a version of one. */
export interface Families {
  /** The newest version of a family: what is taken for a device of which the version is not known. */
  get(name: string): KnownFamily | undefined
  version(manifestDigest: string): KnownFamily | undefined
  /** A version that decodes streams which name this codec, by its digest or the beginning of it. */
  byCodec(codecDigest: string): KnownFamily | undefined
  /** All versions, by name, the newest first. */
  list(): readonly KnownFamily[]
  /** Read the folder again: versions come and go without a restart. */
  scan(): Promise<FamilyScan>
}

/** What a folder held when it was last read. */
interface Found {
  /** Of the manifest's file: unchanged, it is not read again. */
  readonly stamp: string
  readonly family: KnownFamily | undefined
  readonly reason: string | undefined
}

/** The newer version first: 1.10.0 comes before 1.9.0. */
function byVersion(a: KnownFamily, b: KnownFamily): number {
  return (
    b.manifest.version.localeCompare(a.manifest.version, 'en', { numeric: true }) ||
    (a.manifestDigest < b.manifestDigest ? -1 : 1)
  )
}

/**
 * Folders without a readable manifest, or refused by `check`, are skipped and logged; an absent folder has no families.
 * A folder whose name begins with a dot is being written.
 */
export async function openFamilies(directory: string, log: Logger, check?: FamilyCheck): Promise<Families> {
  const folders = new Map<string, Found>()
  let byDigest = new Map<string, KnownFamily>()
  let byName = new Map<string, readonly KnownFamily[]>()
  let turn: Promise<unknown> = Promise.resolve()

  async function readFolder(path: string): Promise<Found | undefined> {
    const { mtimeMs, size, ino } = await stat(join(path, 'manifest.json'))
    const stamp = `${mtimeMs} ${size} ${ino}`
    const before = folders.get(path)
    if (before?.stamp === stamp) return before
    try {
      return { stamp, family: { ...(await openFamily(path, check)), directory: path }, reason: undefined }
    } catch (error) {
      const reason = describeError(error)
      log.error({ directory: path, reason }, 'family refused')
      // What was good before stays in use: devices run it.
      return { stamp, family: before?.family, reason }
    }
  }

  async function scan(): Promise<FamilyScan> {
    const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      log.warn({ directory }, 'no folder of families: nothing can be planned')
      return []
    })
    const paths = entries
      .filter((e) => e.isDirectory() && !e.name.startsWith('.'))
      .map(({ name }) => join(directory, name))
    const next = new Map<string, Found>()
    for (const path of paths.sort()) {
      const found = await readFolder(path).catch((error: NodeJS.ErrnoException) => {
        // Not a family's folder.
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
        throw error
      })
      if (found !== undefined) next.set(path, found)
    }
    folders.clear()
    for (const [path, found] of next) folders.set(path, found)

    const before = byDigest
    byDigest = new Map()
    for (const { family } of next.values())
      if (family !== undefined && !byDigest.has(family.manifestDigest)) byDigest.set(family.manifestDigest, family)
    byName = new Map()
    for (const family of [...byDigest.values()].sort(byVersion)) {
      const { family: name } = family.manifest
      byName.set(name, [...(byName.get(name) ?? []), family])
    }
    return {
      added: [...byDigest.values()].filter(({ manifestDigest }) => !before.has(manifestDigest)),
      removed: [...before.values()].filter(({ manifestDigest }) => !byDigest.has(manifestDigest)),
      refused: [...next].flatMap(([path, { reason }]) => (reason === undefined ? [] : [{ directory: path, reason }])),
    }
  }

  const families: Families = {
    get: (name) => byName.get(name)?.[0],
    version: (manifestDigest) => byDigest.get(manifestDigest),
    byCodec: (codecDigest) =>
      families.list().find((family) => 'codecDigest' in family && family.codecDigest.startsWith(codecDigest)),
    list: () => [...byName.keys()].sort().flatMap((name) => byName.get(name)!),
    scan() {
      const done = turn.then(scan)
      turn = done.catch(() => undefined)
      return done
    },
  }
  await families.scan()
  return families
}

/** The version of a family that a slot has: what it last reported, or was born with. */
export function versionOf(
  device: {
    readonly birth?:
      | { readonly slots: readonly { readonly slot: string; readonly manifestDigest: Digest }[] }
      | undefined
    readonly reported?:
      | { readonly slots: readonly { readonly slot: string; readonly manifestDigest?: Digest | undefined }[] }
      | undefined
  },
  slot: string,
): Digest | undefined {
  return (
    device.reported?.slots.find((each) => each.slot === slot)?.manifestDigest ??
    device.birth?.slots.find((each) => each.slot === slot)?.manifestDigest
  )
}

/** The family of a slot in the version that the slot has; in the newest, where this controller does not have that one. */
export function familyOf(
  families: Pick<Families, 'get' | 'version'>,
  device: Parameters<typeof versionOf>[0],
  { slot, family }: { readonly slot: string; readonly family: string },
): KnownFamily | undefined {
  return families.version(versionOf(device, slot) ?? '') ?? families.get(family)
}
