import type { Manifest } from './manifest.ts'

/** A worker with onnxruntime-web and a small network: 135 to 150 MB of RAM. */
const RUNTIME_BYTES = 140e6
/** What it held beside that for each byte of weights: the file, its copy in the runtime, what is merged. */
const BYTES_PER_WEIGHT_BYTE = 4

function weightBytes(manifest: Manifest, variantId: string): number {
  const bytesOf = (names: readonly string[]): number =>
    [...new Set(names)].reduce((sum, name) => sum + (manifest.tensors[name]?.bytes ?? 0), 0)
  if (manifest.task === 'classification')
    return bytesOf(manifest.variants.find(({ id }) => id === variantId)?.tensors ?? [])
  return bytesOf(Object.values(manifest.variants.find(({ id }) => id === variantId)?.encoder.weights ?? {}))
}

/**
 * RAM that a worker with this variant takes at least, without pictures: the family's own measurement where it has one
 * of the backend, else an estimate from its weights.
 */
export function memoryNeedBytes(manifest: Manifest, variantId: string, backend: string): number {
  const measured = manifest.variants
    .find(({ id }) => id === variantId)
    ?.measured?.filter((each) => each.backend === backend)
    .map(({ rssBytes }) => rssBytes)
  if (measured !== undefined && measured.length > 0) return Math.min(...measured)
  return RUNTIME_BYTES + BYTES_PER_WEIGHT_BYTE * weightBytes(manifest, variantId)
}

/** Why a variant has no room in a worker's memory, as a sentence; undefined if it has. */
export function memoryRefusal(
  manifest: Manifest,
  { variant, backend }: { readonly variant: string; readonly backend: string },
  limitBytes: number,
): string | undefined {
  const need = memoryNeedBytes(manifest, variant, backend)
  if (need <= limitBytes) return undefined
  const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  return `variant "${variant}" of "${manifest.family}" needs about ${megabytes(need)} of memory, a worker may have ${megabytes(limitBytes)} here`
}
