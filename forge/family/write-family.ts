import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { openClassifier } from '@espalier/shared/classifier/open-classifier'
import { ConfigError } from '@espalier/shared/errors'
import { canonicalJson } from '@espalier/shared/manifest/manifest'
import { openClassifierFamily } from '@espalier/shared/manifest/narrow-family'
import type { AssembledFamily } from './assemble-family.ts'

/** Open what was written and run the golden input through every variant. @throws {IntegrityError} If one differs. */
export async function verifyFamily(directory: string): Promise<void> {
  const family = await openClassifierFamily(directory)
  for (const { id } of family.manifest.variants)
    await (await openClassifier(family, { variant: id, threads: 1 })).close()
}

/** What may be replaced: nothing, an empty folder, or a family. */
async function checkReplaceable(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined
    throw new ConfigError(`Cannot write family "${directory}": ${cause.code}`, { cause })
  })
  if (names !== undefined && names.length > 0 && !names.includes('manifest.json'))
    throw new ConfigError(
      `Cannot write family "${directory}": found a folder of other things, expected a family or none`,
    )
  return names !== undefined
}

/**
 * Write a family beside its place, verify it there, and put it in place: a reader finds the old family or the new.
 *
 * @throws {ConfigError} If the folder holds something else, or cannot be written.
 * @throws {IntegrityError} If what was written does not give the golden outputs.
 */
export async function writeFamily(directory: string, { manifest, blobs }: AssembledFamily): Promise<void> {
  const isThere = await checkReplaceable(directory)
  const aside = `${directory}.partial`
  const before = `${directory}.before`
  await rm(aside, { recursive: true, force: true })
  try {
    await mkdir(dirname(directory), { recursive: true })
    await mkdir(join(aside, 'blobs'), { recursive: true })
    for (const [sha256, data] of blobs) await writeFile(join(aside, 'blobs', sha256), data)
    await writeFile(join(aside, 'manifest.json'), canonicalJson(manifest))
  } catch (cause) {
    await rm(aside, { recursive: true, force: true })
    throw new ConfigError(`Cannot write family "${directory}": ${(cause as NodeJS.ErrnoException).code}`, { cause })
  }
  try {
    await verifyFamily(aside)
    if (isThere) {
      // Of a writing that was cut off, if there is one.
      await rm(before, { recursive: true, force: true })
      await rename(directory, before)
    }
    await rename(aside, directory)
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
  await rm(before, { recursive: true, force: true })
}
