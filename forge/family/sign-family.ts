import type { KeyObject } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { SIGNATURE_FILE, signManifest } from '@espalier/shared/signature/manifest-signature'

/**
 * Write the signature of a family's manifest beside it; one that is there is replaced.
 *
 * @throws {ConfigError} If the folder holds no family, or cannot be written.
 */
export async function signFamily(directory: string, privateKey: KeyObject): Promise<void> {
  const path = join(directory, SIGNATURE_FILE)
  try {
    const manifest = await readFile(join(directory, 'manifest.json'), 'utf8')
    await writeFile(`${path}.new`, JSON.stringify(signManifest(manifest, privateKey)))
    await rename(`${path}.new`, path)
  } catch (cause) {
    throw new ConfigError(`Cannot sign family "${directory}": ${describeError(cause)}`, { cause })
  }
}
