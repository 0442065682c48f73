import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '@espalier/shared/errors'
import { type Family, type FamilyCheck, openFamily } from '@espalier/shared/manifest/open-family'
import type { Logger } from 'pino'

export type KnownFamily = Family & { readonly directory: string }

/** The families of one folder, by name; of several versions, each in a folder of its own, `get` gives the last one read. */
export interface Families {
  get(name: string): KnownFamily | undefined
  list(): readonly KnownFamily[]
}

/** Folders without a readable manifest, or refused by `check`, are skipped and logged; an absent folder has no families. */
export async function openFamilies(directory: string, log: Logger, check?: FamilyCheck): Promise<Families> {
  const versions: KnownFamily[] = []
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    log.warn({ directory }, 'no folder of families: nothing can be planned')
    return []
  })
  for (const entry of entries) {
    if (!entry.isDirectory()) continue
    const path = join(directory, entry.name)
    const files = await readdir(path)
    if (!files.includes('manifest.json')) continue
    try {
      const family = await openFamily(path, check)
      versions.push({ ...family, directory: path })
    } catch (error) {
      log.error({ directory: path, reason: describeError(error) }, 'family refused')
    }
  }
  return { get: (name) => versions.findLast(({ manifest }) => manifest.family === name), list: () => versions }
}
