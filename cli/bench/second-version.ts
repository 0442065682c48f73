import { createHash } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { DEFAULT_FAMILY_DIR } from '../models.ts'

interface Entry {
  sha256: string
  bytes: number
}

/** The parts of a codec manifest that are changed here. */
interface Manifest {
  version: string
  tensors: Record<string, Entry & { dtype: string }>
  variants: Array<{ id: string; encoder: Entry & { weights: Record<string, string> } }>
  golden: { cases: Array<{ variant: string; symbols: Entry }> }
}

async function replaceBlob(folder: string, entry: Entry, alter: (bytes: Buffer) => Buffer): Promise<void> {
  const bytes = alter(await readFile(join(folder, 'blobs', entry.sha256)))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  await writeFile(join(folder, 'blobs', sha256), bytes)
  Object.assign(entry, { sha256, bytes: bytes.byteLength })
}

/** What is different from the family that ships. */
export type Difference =
  /** Another version number, and one tensor that says the same in other bytes: a version as good as the first. */
  | 'as good'
  /** The golden symbols are of another network. */
  | 'golden mismatch'
  /** Named by the small variant's id, the encoder of the full one: it opens, gives golden outputs, and takes several times as long. */
  | 'slower'

/** Nothing shows in the result: a float16 zero becomes a negative zero. */
function flipZero(bytes: Buffer): Buffer {
  const altered = Buffer.from(bytes)
  for (let at = 0; at + 1 < altered.length; at += 2)
    if (altered.readUInt16LE(at) === 0) {
      altered.writeUInt16LE(0x8000, at)
      return altered
    }
  // None is exactly zero: the least step of the first value.
  altered.writeUInt16LE(altered.readUInt16LE(0) ^ 1, 0)
  return altered
}

/** Copy the family that ships to `folder`, with a difference. @returns Digest of its manifest. */
export async function makeSecondVersion(folder: string, difference: Difference, version = '9.9.0'): Promise<Digest> {
  await cp(DEFAULT_FAMILY_DIR, folder, { recursive: true })
  const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as Manifest
  manifest.version = version
  const find = (id: string) => manifest.variants.find((variant) => variant.id === id)!
  if (difference === 'golden mismatch') {
    for (const each of manifest.golden.cases.filter(({ variant }) => variant === 'tiny'))
      await replaceBlob(folder, each.symbols, (bytes) => {
        const altered = Buffer.from(bytes)
        for (let at = 0; at + 1 < altered.length; at += 2) altered.writeInt16LE((altered.readInt16LE(at) + 9) % 100, at)
        return altered
      })
  } else if (difference === 'slower') {
    const [tiny, full] = [find('tiny'), find('full')]
    tiny.encoder = full.encoder
    const golden = manifest.golden.cases.filter((each) => each.variant !== 'tiny')
    const ofFull = golden.filter(({ variant }) => variant === 'full').map((each) => ({ ...each, variant: 'tiny' }))
    manifest.golden.cases = [...golden, ...ofFull]
  } else {
    const names = Object.values(find('tiny').encoder.weights)
    const name = names.find((each) => manifest.tensors[each]?.dtype === 'float16') ?? names[0]!
    await replaceBlob(folder, manifest.tensors[name]!, flipZero)
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
  return (await openFamily(folder)).manifestDigest
}
