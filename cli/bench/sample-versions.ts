import { createHash } from 'node:crypto'
import { type Digest, digestSchema } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { seededRandom } from './seeded-random.ts'

/** A version of a family as files, for store and updates; nobody runs its graphs, which are noise. */
export interface SampleVersion {
  readonly digest: Digest
  /** By the name that `FamilySource` takes. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

function noise(seed: number, bytes: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(Math.ceil(bytes / 4))
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32
  return new Uint8Array(words.buffer, 0, bytes)
}

/** As families are: many small tensors, a few of some hundred kilobytes, one large. */
const TENSOR_BYTES = [
  ...Array.from({ length: 24 }, (_, i) => 700 + 400 * i),
  ...Array.from({ length: 8 }, (_, i) => 60_000 + 45_000 * i),
  2_600_000,
]

/**
 * @param version From 0; each shares a quarter of its small tensors with all others.
 * @throws {IntegrityError} Never: the manifest is of our own format.
 */
export async function makeSampleVersion(version: number): Promise<SampleVersion> {
  const files = new Map<string, Uint8Array>()
  const blob = (data: Uint8Array): { sha256: string; bytes: number } => {
    const digest = sha256(data)
    files.set(`blobs/${digest}`, data)
    return { sha256: digest, bytes: data.byteLength }
  }
  const tensors = Object.fromEntries(
    TENSOR_BYTES.map((bytes, i) => {
      const seed = i % 4 === 0 && bytes < 50_000 ? i : 1000 * (version + 1) + i
      return [`t${i}`, { ...blob(noise(seed, bytes)), dtype: 'uint8', shape: [bytes] }]
    }),
  )
  const names = Object.keys(tensors)
  const variant = (id: string, macs: number, used: string[]) => {
    const graph = blob(noise(77_000 + 10 * version + used.length, 9000))
    return {
      id,
      graph: { ...graph, input: 'x', output: 'y', macs },
      tensors: used,
      source: { sha256: sha256(new Uint8Array([version])), bytes: 1 },
      lineage: [],
    }
  }
  const golden = (id: string, seed: number) => ({ variant: id, output: blob(noise(seed, 40)), tolerance: 0.1 })
  const manifest = {
    format: 'espalier-family/1',
    family: 'sample',
    version: `${version}.0.0`,
    licence: 'Apache-2.0',
    description: 'Noise',
    task: 'classification',
    input: { layout: 'nchw', dims: [1, 3, 32, 32], colour: 'rgb' },
    output: { classes: 10, scores: 'logits' },
    tensors,
    variants: [variant('large', 2e6, names), variant('small', 1e5, names.slice(0, 24))],
    golden: { input: blob(noise(5, 12_288)), cases: [golden('large', 90 + version), golden('small', 190 + version)] },
  }
  files.set('manifest.json', new TextEncoder().encode(JSON.stringify(manifest)))
  const { manifestDigest } = await openFamily(async (name) => files.get(name)!)
  return { digest: digestSchema.parse(manifestDigest), files }
}
