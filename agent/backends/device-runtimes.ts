import type { Family } from '@espalier/shared/manifest/open-family'
import { type FindOptions, MeasuredRuntimes } from './measured-runtimes.ts'
import { probeRuntime } from './probe-runtime.ts'
import { describeRuntime, listCandidates, type Runtime, type Runtimes } from './runtime.ts'
import type { RuntimeFinder, RuntimeFinderOptions } from './runtime-finder.ts'

/** What this device can run families on. */
export class DeviceRuntimes implements RuntimeFinder {
  readonly #options: RuntimeFinderOptions
  readonly #measured: MeasuredRuntimes
  /** RAM that a worker may have. */
  readonly maxWorkerBytes: number

  constructor(options: RuntimeFinderOptions) {
    this.#options = options
    const { config, board, software, log } = options
    const { model, arch, cores, memoryBytes } = board
    this.#measured = new MeasuredRuntimes({
      dataDir: config.dataDir,
      about: [software, model, arch, cores],
      onError: (error) => log.warn({ reason: error.message }, 'backends are measured again'),
    })
    // 0 and huge numbers stand for "no limit of the container".
    const constrained = process.constrainedMemory() || memoryBytes
    this.maxWorkerBytes = Math.min(config.maxWorkerBytes, memoryBytes, constrained)
  }

  /** Known from disk, or tried now, which takes a second or two for each; `isAnew` tries whatever is known. */
  async find(
    { manifest, manifestDigest }: Family,
    familyDir: string,
    { isAnew = false, signal }: Pick<FindOptions, 'isAnew' | 'signal'> = {},
  ): Promise<Runtimes> {
    const { config, workerPath, log } = this.#options
    const candidates = listCandidates(config.backends, config.threads) as [Runtime, ...Runtime[]]
    // Nothing to choose from: the slot's worker measures itself.
    if (candidates.length === 1 && !isAnew) return { usable: [{ ...candidates[0], speed: undefined }], refused: [] }
    const variants = manifest.variants.map(({ id }) => id)
    return this.#measured.find(candidates, manifestDigest, {
      isAnew,
      signal,
      probe: async (runtime) => {
        const probe = await probeRuntime(runtime, { workerPath, familyDir, variants })
        const found = 'reason' in probe ? { reason: probe.reason } : { macsPerSecond: probe.speed.macsPerSecond }
        log.info({ family: manifest.family, ...found }, `tried ${describeRuntime(runtime)}`)
        return probe
      },
    })
  }
}
