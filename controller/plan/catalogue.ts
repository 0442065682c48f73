import { type Configuration, configurationId } from '@espalier/shared/configuration'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Birth } from '@espalier/shared/messages/device'

export type SlotBirth = Birth['slots'][number]

const ALPHAS = [0, 32, 64, 96, 128, 160, 192, 224, 255]
const SCALES = [1, 0.5]
const FRAME_RATE_DIVISORS = [1, 2, 5]
/** Sizes are multiples of this, so that few devices pad, and at least four of it. */
const SIZE_STEP = 16

function scaledSide(pixels: number, scale: number): number {
  return Math.min(8192, Math.max(4 * SIZE_STEP, Math.round((pixels * scale) / SIZE_STEP) * SIZE_STEP))
}

/** Everything that may be planned for a slot, by id; each id once. */
export function listConfigurations(slot: SlotBirth, manifest: CodecManifest): ReadonlyMap<string, Configuration> {
  // The fastest that the device found; a ladder has one backend, because another one takes a process of its own.
  const { backend, threads } = slot.backends[0]!
  const configurations = new Map<string, Configuration>()
  for (const { id: variant } of manifest.variants)
    for (const scale of SCALES)
      for (const divisor of FRAME_RATE_DIVISORS)
        for (const alpha255 of ALPHAS) {
          const configuration: Configuration = {
            family: manifest.family,
            variant,
            alpha255,
            mode: 'merged',
            backend,
            threads,
            width: scaledSide(slot.source.width, scale),
            height: scaledSide(slot.source.height, scale),
            // Three decimals keep the id the same wherever it is computed.
            frameRate: Math.round((slot.source.frameRate / divisor) * 1000) / 1000,
          }
          configurations.set(configurationId(configuration), configuration)
        }
  return configurations
}
