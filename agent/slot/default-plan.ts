import type { Configuration } from '@espalier/shared/configuration'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { Backend } from '@espalier/shared/runtime/session'
import type { Plan } from '../governor/governor.ts'
import type { PictureStream } from '../source/source.ts'

/** Half way between the best picture and the lowest rate: safe for a device that nobody has told anything. */
const MIDDLE_ALPHA = 128

/**
 * What a slot runs when it never heard from a controller: the family's first variant, a codec on the source as it is,
 * a classifier on what its input takes.
 */
export function defaultPlan(
  manifest: Manifest,
  stream: Pick<PictureStream, 'width' | 'height'>,
  { frameRate, backend = 'wasm', threads }: { frameRate: number; backend?: Backend; threads: number },
): Plan {
  const { width, height } = manifest.task === 'classification' ? inputSize(manifest.input) : stream
  const configuration: Configuration = {
    family: manifest.family,
    variant: manifest.variants[0]!.id,
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
