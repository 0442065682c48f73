import { blobsOf, type ClassifierManifest } from '@espalier/shared/manifest/classifier-manifest'

export interface VariantSize {
  readonly id: string
  /** Of the model's file. */
  readonly fileBytes: number
  /** Of its graph and tensors, if it were alone in a family. */
  readonly aloneBytes: number
  /** Of those that no variant before it has: what shipping it takes beside them. */
  readonly addedBytes: number
}

export interface FamilySizes {
  readonly variants: readonly VariantSize[]
  readonly sumOfFilesBytes: number
  readonly sumAloneBytes: number
  /** Of all variants together, shared tensors once; golden tensors not counted. */
  readonly familyBytes: number
}

/** What a family takes, and what its variants would take one by one. */
export function familySizes(manifest: ClassifierManifest): FamilySizes {
  const seen = new Set<string>()
  const total = (entries: readonly { readonly bytes: number }[]): number =>
    entries.reduce((sum, { bytes }) => sum + bytes, 0)
  const variants = manifest.variants.map((variant): VariantSize => {
    const blobs = blobsOf(manifest, variant)
    const added = blobs.filter(({ sha256 }) => !seen.has(sha256))
    for (const { sha256 } of added) seen.add(sha256)
    return { id: variant.id, fileBytes: variant.source.bytes, aloneBytes: total(blobs), addedBytes: total(added) }
  })
  const sum = (field: 'fileBytes' | 'aloneBytes' | 'addedBytes'): number =>
    variants.reduce((all, variant) => all + variant[field], 0)
  return {
    variants,
    sumOfFilesBytes: sum('fileBytes'),
    sumAloneBytes: sum('aloneBytes'),
    familyBytes: sum('addedBytes'),
  }
}
