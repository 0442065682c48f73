import { createHash } from 'node:crypto'
import { type Digest, digestSchema } from '@espalier/shared/ids'
import type { BlobEntry } from '@espalier/shared/manifest/blob'

export function digestOf(data: Uint8Array): Digest {
  return digestSchema.parse(createHash('sha256').update(data).digest('hex'))
}

export function blobEntryOf(data: Uint8Array): BlobEntry {
  return { sha256: digestOf(data), bytes: data.length }
}
