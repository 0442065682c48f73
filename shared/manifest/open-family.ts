import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { IntegrityError } from '../errors.ts'
import type { Digest } from '../ids.ts'
import { canonicalJson, type Manifest, parseManifest } from './manifest.ts'

/** A family on disk: `manifest.json` and `blobs/<sha256>`. */
export interface Family {
  readonly manifest: Manifest
  readonly manifestDigest: Digest
  /** What a stream must name to be decoded by this family: everything that decoding depends on, and nothing else. */
  readonly codecDigest: Digest
  /** @throws {IntegrityError} If the blob is absent or its bytes are not those of its digest. */
  readBlob(entry: { sha256: string; bytes: number }): Promise<Uint8Array>
}

export function sha256(data: Uint8Array | string): Digest {
  return createHash('sha256').update(data).digest('hex') as Digest
}

function decodingPart({ family, decoder, adapters, tensors, entropy, latent }: Manifest): unknown {
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

/** @throws {IntegrityError} If there is no readable manifest of this format. */
export async function openFamily(directory: string): Promise<Family> {
  const path = join(directory, 'manifest.json')
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new IntegrityError(`Cannot open family "${directory}": ${cause.code} reading manifest.json`, { cause })
  })
  const manifest = parseManifest(text, path)
  return {
    manifest,
    manifestDigest: sha256(canonicalJson(manifest)),
    codecDigest: sha256(canonicalJson(decodingPart(manifest))),
    async readBlob(entry) {
      const data = await readFile(join(directory, 'blobs', entry.sha256)).catch((cause: NodeJS.ErrnoException) => {
        throw new IntegrityError(`Cannot read blob "${entry.sha256}" of "${manifest.family}": ${cause.code}`, { cause })
      })
      const found = sha256(data)
      if (found !== entry.sha256)
        throw new IntegrityError(
          `Cannot read blob "${entry.sha256}" of "${manifest.family}": found digest ${found} over ${data.length} bytes, expected ${entry.bytes} bytes`,
        )
      return data
    },
  }
}
