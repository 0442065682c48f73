import type { Configuration } from '@espalier/shared/configuration'
import { type ClassifierManifest, inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { Backend } from '@espalier/shared/runtime/session'

/** A classifier takes one size and knows no alpha. */
function classifierRefusal(
  { alpha255, width, height }: Configuration,
  { family, input }: ClassifierManifest,
): string | undefined {
  const size = inputSize(input)
  if (alpha255 !== 0) return `found alpha ${alpha255}/255, "${family}" has no adapter`
  if (width !== size.width || height !== size.height)
    return `found size ${width} x ${height}, "${family}" takes ${size.width} x ${size.height}`
  return undefined
}

/** Why this device cannot run a ladder, as a sentence for the controller; undefined if it can run all of it. */
export function findRefusal(
  configurations: readonly Configuration[],
  {
    manifest,
    backend: own = 'wasm',
    threads,
  }: { readonly manifest: Manifest; readonly backend?: Backend; readonly threads: number },
): string | undefined {
  for (const configuration of configurations) {
    const { family, variant, mode, backend, threads: wanted } = configuration
    if (family !== manifest.family) return `found family "${family}", this slot runs "${manifest.family}"`
    if (manifest.variants.every(({ id }) => id !== variant))
      return `found variant "${variant}", "${family}" has ${manifest.variants.map(({ id }) => `"${id}"`).join(', ')}`
    if (mode !== 'merged') return `found mode "${mode}", this device runs "merged"`
    if (backend !== own || wanted !== threads)
      return `found backend ${backend} with ${wanted} threads, this device runs ${own} with ${threads}`
    const refusal = manifest.task === 'classification' ? classifierRefusal(configuration, manifest) : undefined
    if (refusal !== undefined) return refusal
  }
  return undefined
}
