import type { BlobEntry } from './blob.ts'
import { blobsOf, type ClassifierManifest } from './classifier-manifest.ts'
import type { CodecManifest, GraphEntry } from './codec-manifest.ts'
import type { Manifest } from './manifest.ts'

/** Tensors that a graph is fed with, and what alpha adds to them. */
function tensorsOf({ weights }: GraphEntry, { tensors, adapters }: CodecManifest): BlobEntry[] {
  const names = new Set(Object.values(weights))
  for (const { updates } of adapters)
    for (const [name, update] of Object.entries(updates)) {
      if (!names.has(name)) continue
      for (const [field, value] of Object.entries(update)) if (field !== 'kind') names.add(value)
    }
  return [...names].map((name) => tensors[name]!).filter((entry) => entry !== undefined)
}

/** Encoders to run, golden outputs to check them, and the decoder that tells the true quality. */
function codecBlobs(manifest: CodecManifest): BlobEntry[] {
  const graphs = [manifest.decoders.full, ...manifest.variants.map(({ encoder }) => encoder)]
  const { golden } = manifest
  return [
    manifest.entropy,
    ...graphs.flatMap((graph) => [graph, ...tensorsOf(graph, manifest)]),
    golden.picture,
    ...golden.cases.map(({ symbols }) => symbols),
  ]
}

function classifierBlobs(manifest: ClassifierManifest): BlobEntry[] {
  const { golden, variants } = manifest
  return [
    ...variants.flatMap((variant) => blobsOf(manifest, variant)),
    golden.input,
    ...golden.cases.map(({ output }) => output),
  ]
}

/**
 * What a device reads of a family whatever variant it runs, each blob once; what only a receiver or the forge reads is
 * left out.
 */
export function deviceBlobs(manifest: Manifest): BlobEntry[] {
  const entries = manifest.task === 'image-codec' ? codecBlobs(manifest) : classifierBlobs(manifest)
  return [...new Map(entries.map(({ sha256, bytes }) => [sha256, { sha256, bytes }])).values()]
}
