import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { compareIds } from '@espalier/shared/ladder/compare-ids'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { memoryNeedBytes } from '@espalier/shared/manifest/memory-need'
import type { Birth } from '@espalier/shared/messages/device'
import { keysOf } from '../estimate/slot-estimate.ts'
import { classifierShapes } from './classifier-cost.ts'
import { type Cost, costOf } from './predict.ts'

export type SlotBirth = Birth['slots'][number]

const ALPHAS = [0, 32, 64, 96, 128, 160, 192, 224, 255]
const SCALES = [1, 0.5]
const FRAME_RATE_DIVISORS = [1, 2, 5]
/** Sizes are multiples of this, so that few devices pad, and at least four of it. */
const SIZE_STEP = 16

function scaledSide(pixels: number, scale: number): number {
  return Math.min(8192, Math.max(4 * SIZE_STEP, Math.round((pixels * scale) / SIZE_STEP) * SIZE_STEP))
}

export interface Entry {
  readonly id: string
  readonly configuration: Configuration
  readonly cost: Cost
  /** RAM of the worker that runs it. */
  readonly memoryBytes: number
  /** Positions of its keys in the catalogue: entries that share one share what is expected of its cause. */
  readonly workAt: number
  readonly streamAt: number
}

/** Everything that may be planned for slots of one source, in order of id, each id once; and the keys of its causes. */
export interface Catalogue {
  readonly entries: readonly Entry[]
  readonly works: readonly string[]
  readonly streams: readonly string[]
}

/** By version of a family, then by all else that the entries depend on: slots of like sources share them. */
const catalogues = new WeakMap<Manifest, Map<string, Catalogue>>()

export function catalogueOf(slot: SlotBirth, manifest: Manifest): Catalogue {
  const { width, height, frameRate } = slot.source
  const runtimes = runtimesOf(slot, manifest)
  const known = catalogues.get(manifest) ?? new Map<string, Catalogue>()
  catalogues.set(manifest, known)
  const key = [width, height, frameRate, ...runtimes.map(({ backend, threads }) => `${backend}${threads}`)].join(' ')
  const catalogue = known.get(key) ?? makeCatalogue(slot, manifest, runtimes)
  known.set(key, catalogue)
  return catalogue
}

/** What of a configuration is the task's own. */
type Shape = Pick<Configuration, 'variant' | 'alpha255' | 'width' | 'height'>

function codecShapes({ source }: SlotBirth, { variants }: CodecManifest): Shape[] {
  return variants.flatMap(({ id: variant }) =>
    SCALES.flatMap((scale) => {
      const [width, height] = [scaledSide(source.width, scale), scaledSide(source.height, scale)]
      return ALPHAS.map((alpha255): Shape => ({ variant, alpha255, width, height }))
    }),
  )
}

/**
 * Of a codec the fastest that the device found. A classifier has few shapes, so that all that were measured can be weighed:
 * fewer threads are slower and draw less.
 */
function runtimesOf({ backends }: SlotBirth, { task }: Manifest): SlotBirth['backends'] {
  return task === 'image-codec'
    ? [backends[0]!]
    : backends.filter((each, i) => i === 0 || each.macsPerSecond !== undefined)
}

/** Where a key is in a list; added if it is new. */
function placeOf(keys: string[], key: string): number {
  const at = keys.indexOf(key)
  return at >= 0 ? at : keys.push(key) - 1
}

function makeCatalogue(slot: SlotBirth, manifest: Manifest, runtimes: SlotBirth['backends']): Catalogue {
  const entries = new Map<string, Entry>()
  const works: string[] = []
  const streams: string[] = []
  const shapes = manifest.task === 'image-codec' ? codecShapes(slot, manifest) : classifierShapes(manifest)
  for (const shape of shapes)
    for (const { backend, threads } of runtimes)
      for (const divisor of FRAME_RATE_DIVISORS) {
        const configuration: Configuration = {
          family: manifest.family,
          mode: 'merged',
          backend,
          threads,
          ...shape,
          // Three decimals keep the id the same wherever it is computed.
          frameRate: Math.round((slot.source.frameRate / divisor) * 1000) / 1000,
        }
        const id = configurationId(configuration)
        const cost = costOf(configuration, slot, manifest)
        const { work, stream } = keysOf(configuration, cost.sending)
        entries.set(id, {
          id,
          configuration,
          cost,
          memoryBytes: memoryNeedBytes(manifest, shape.variant, backend),
          workAt: placeOf(works, work),
          streamAt: placeOf(streams, stream),
        })
      }
  return { entries: [...entries.values()].sort((a, b) => compareIds(a.id, b.id)), works, streams }
}
