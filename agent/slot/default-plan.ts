import type { Configuration } from '@espalier/shared/configuration'
import { ConfigError } from '@espalier/shared/errors'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { memoryRefusal } from '@espalier/shared/manifest/memory-need'
import type { Runtime } from '../backends/runtime.ts'
import type { Plan } from '../governor/governor.ts'
import type { PictureStream } from '../source/source.ts'

/** Half way between the best picture and the lowest rate: safe for a device that nobody has told anything. */
const MIDDLE_ALPHA = 128

export interface DefaultPlanOptions {
  readonly frameRate: number
  /** The best of this device. */
  readonly runtime: Runtime
  /** RAM that a worker may have. */
  readonly maxWorkerBytes: number
}

/**
 * What a slot runs when it never heard from a controller: the family's first variant that has room, a codec on the
 * source as it is, a classifier on what its input takes.
 *
 * @throws {ConfigError} If no variant has room in the worker's memory.
 */
export function defaultPlan(
  manifest: Manifest,
  stream: Pick<PictureStream, 'width' | 'height'>,
  { frameRate, runtime, maxWorkerBytes }: DefaultPlanOptions,
): Plan {
  const { backend, threads } = runtime
  const { width, height } = manifest.task === 'classification' ? inputSize(manifest.input) : stream
  const refusals = manifest.variants.map(({ id: variant }) =>
    memoryRefusal(manifest, { variant, backend }, maxWorkerBytes),
  )
  const first = refusals.indexOf(undefined)
  if (first === -1)
    throw new ConfigError(
      `Cannot run family "${manifest.family}": ${refusals.at(-1)}; choose a smaller family, or set "maxWorkerBytes" where there is more`,
    )
  const configuration: Configuration = {
    family: manifest.family,
    variant: manifest.variants[first]!.id,
    alpha255: manifest.task === 'classification' ? 0 : MIDDLE_ALPHA,
    mode: 'merged',
    backend,
    threads,
    width,
    height,
    frameRate,
  }
  return { ladder: [{ configuration, rateBps: 0, powerW: 0, utility: 0 }], leaseBps: undefined }
}
