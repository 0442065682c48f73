import type { CodecManifest } from './codec-manifest.ts'

/** Everything that decoding a stream depends on, and nothing else: what a codec's digest covers. */
export function decodingPart({ family, decoders, adapters, tensors, entropy, latent }: CodecManifest): unknown {
  // Streams are made for the full decoder; a light one may be added or changed without their notice.
  const decoder = decoders.full
  const names = new Set(Object.values(decoder.weights))
  const updates = adapters.map((adapter) => ({
    id: adapter.id,
    updates: Object.fromEntries(Object.entries(adapter.updates).filter(([name]) => names.has(name))),
  }))
  for (const { updates: named } of updates)
    for (const update of Object.values(named))
      for (const [field, name] of Object.entries(update)) if (field !== 'kind') names.add(name)
  const used = Object.fromEntries([...names].map((name) => [name, tensors[name]]))
  return { family, decoder, updates, tensors: used, entropy, channels: latent.channels, stride: latent.stride }
}
