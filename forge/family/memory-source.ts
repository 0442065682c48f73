import { canonicalJson } from '@espalier/shared/manifest/manifest'
import type { FamilySource } from '@espalier/shared/manifest/open-family'
import type { AssembledFamily } from './assemble-family.ts'

/** The files of a family that is not written yet. */
export function memorySource({ manifest, blobs }: AssembledFamily): FamilySource {
  return async (name) => {
    const found =
      name === 'manifest.json' ? new TextEncoder().encode(canonicalJson(manifest)) : blobs.get(name.slice(6))
    if (found === undefined) throw Object.assign(new Error(`no ${name}`), { code: 'ENOENT' })
    return found
  }
}
