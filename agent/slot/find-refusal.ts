import type { Configuration } from '@espalier/shared/configuration'
import type { Manifest } from '@espalier/shared/manifest/manifest'

/** Why this device cannot run a ladder, as a sentence for the controller; undefined if it can run all of it. */
export function findRefusal(
  configurations: readonly Configuration[],
  { manifest, threads }: { readonly manifest: Manifest; readonly threads: number },
): string | undefined {
  for (const { family, variant, mode, backend, threads: wanted } of configurations) {
    if (family !== manifest.family) return `found family "${family}", this device holds "${manifest.family}"`
    if (manifest.variants.every(({ id }) => id !== variant))
      return `found variant "${variant}", "${family}" has ${manifest.variants.map(({ id }) => `"${id}"`).join(', ')}`
    if (mode !== 'merged') return `found mode "${mode}", this device runs "merged"`
    if (backend !== 'wasm' || wanted !== threads)
      return `found backend ${backend} with ${wanted} threads, this device runs wasm with ${threads}`
  }
  return undefined
}
