import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { StoreError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import { z } from 'zod'
import { StateFile } from '../twin/state-file.ts'
import { chooseRuntimes, type Probe } from './choose-runtimes.ts'
import type { Runtime, Runtimes } from './runtime.ts'

const runtimeShape = { backend: z.enum(['wasm', 'webgpu', 'native']), threads: z.int().min(1) }
const adapterSchema = z.object({
  inputsMs: z.number().positive(),
  bakedMs: z.number().positive(),
  liveMs: z.number().positive().optional(),
  mergeMs: z.number().min(0),
  bakeMs: z.number().min(0),
})
const speedSchema = z.object({ macsPerSecond: z.number().positive(), adapter: adapterSchema.optional() })
const fileSchema = z.object({
  version: z.literal(1),
  /** Newest last. */
  measured: z.array(
    z.object({
      key: z.string(),
      usable: z.array(z.object({ ...runtimeShape, speed: speedSchema })).min(1),
      refused: z.array(z.object({ ...runtimeShape, reason: z.string() })),
    }),
  ),
})

/** Families and versions of the software come and go; the file must not grow with them. */
const MAX_MEASURED = 16

const PACKAGES = ['onnxruntime-web', 'onnxruntime-node']

/** The version of a package as it is installed here; `absent` where it is not. */
function installedVersion(name: string): string {
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    const folder = entry.slice(0, entry.lastIndexOf(join('node_modules', name)) + join('node_modules', name).length)
    return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')))
      .version
  } catch {
    return 'absent'
  }
}

export interface FindOptions {
  readonly probe: (runtime: Runtime) => Promise<Probe>
  /** Measure, whatever is known. */
  readonly isAnew?: boolean | undefined
  /** When aborted, no more are tried and nothing is kept. */
  readonly signal?: AbortSignal | undefined
}

export interface MeasuredRuntimesOptions {
  readonly dataDir: string
  /** What measurements depend on besides family and runtimes: software, board. */
  readonly about: readonly unknown[]
  /** Measurements on disk are unreadable or cannot be written: they are made again. */
  readonly onError: (error: StoreError) => void
}

/** What was measured of this device's backends, by family, kept on disk: a restart measures nothing again. */
export class MeasuredRuntimes {
  readonly #options: MeasuredRuntimesOptions
  readonly #file: StateFile<z.infer<typeof fileSchema>>

  constructor(options: MeasuredRuntimesOptions) {
    this.#options = options
    this.#file = new StateFile(join(options.dataDir, 'backends.json'), 'measured backends', fileSchema)
  }

  /**
   * What is known, or else what trying each candidate finds, one after the other: two at a time would slow each other.
   */
  async find(
    candidates: readonly [Runtime, ...Runtime[]],
    manifestDigest: Digest,
    { probe, isAnew = false, signal }: FindOptions,
  ): Promise<Runtimes> {
    const versions = PACKAGES.map((name) => `${name} ${installedVersion(name)}`)
    const key = createHash('sha256')
      .update(JSON.stringify([this.#options.about, versions, manifestDigest, candidates]))
      .digest('hex')
    const measured = this.#file.load(this.#options.onError)?.measured ?? []
    const known = isAnew ? undefined : measured.find((each) => each.key === key)
    if (known !== undefined) return known
    const probes: Probe[] = []
    for (const runtime of candidates)
      probes.push(signal?.aborted ? { runtime, reason: 'stopped before it was tried' } : await probe(runtime))
    const found = chooseRuntimes(probes as [Probe, ...Probe[]])
    if (signal?.aborted) return found
    const usable = found.usable.flatMap(({ speed, ...runtime }) => (speed === undefined ? [] : [{ ...runtime, speed }]))
    // Where nothing works, the reason may be gone with the next start.
    if (usable.length > 0)
      this.#save([...measured.filter((each) => each.key !== key), { key, usable, refused: [...found.refused] }])
    return found
  }

  #save(measured: z.infer<typeof fileSchema>['measured']): void {
    try {
      this.#file.save({ version: 1, measured: measured.slice(-MAX_MEASURED) })
    } catch (error) {
      this.#options.onError(error as StoreError)
    }
  }
}
