import type { Configuration } from '@espalier/shared/configuration'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { Plan } from '../governor/governor.ts'
import type { PictureStream } from '../source/source.ts'

/** Half way between the best picture and the lowest rate: safe for a device that nobody has told anything. */
const MIDDLE_ALPHA = 128

/** What a slot runs when it never heard from a controller: the family's first variant on the source as it is. */
export function defaultPlan(
  manifest: Manifest,
  stream: Pick<PictureStream, 'width' | 'height'>,
  { frameRate, threads }: { frameRate: number; threads: number },
): Plan {
  const configuration: Configuration = {
    family: manifest.family,
    variant: manifest.variants[0]!.id,
    alpha255: MIDDLE_ALPHA,
    mode: 'merged',
    backend: 'wasm',
    threads,
    width: stream.width,
    height: stream.height,
    frameRate,
  }
  return { ladder: [{ configuration, rateBps: 0, powerW: 0, utility: 0 }], leaseBps: undefined }
}
