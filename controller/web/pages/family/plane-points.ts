import type { FamilyView } from '../../../api/routes/fleet-schemas.ts'
import { bytes, count, energy, milliseconds } from '../../state/format.ts'

/** A shape of the family on the plane. */
export interface PlanePoint {
  readonly variant: string
  readonly words: string
  readonly cost: number
  readonly quality: number
}

export interface Axis {
  readonly key: string
  readonly name: string
  readonly format: (value: number) => string
}

type Variant = FamilyView['variants'][number]
type Run = FamilyView['runs'][number]

const RATE: Axis = { key: 'rate', name: 'bits a pixel', format: (v) => `${Number(v.toPrecision(3))} bit` }
const MACS: Axis = { key: 'macs', name: 'multiply-accumulates', format: (v) => `${count(v)} MAC` }
const BYTES: Axis = { key: 'bytes', name: 'size', format: bytes }
const ENERGY: Axis = { key: 'energy', name: 'energy a frame on the fleet', format: energy }
const LATENCY: Axis = { key: 'latency', name: 'p95 on the fleet', format: milliseconds }

export function axesOf(family: FamilyView): readonly Axis[] {
  const measured = family.runs.some(({ joulesPerFrame }) => joulesPerFrame !== undefined) ? [ENERGY, LATENCY] : []
  return family.task === 'image-codec' ? [RATE, MACS, BYTES, ...measured] : [MACS, BYTES, ...measured]
}

export const qualityName = (family: FamilyView): string =>
  family.task === 'image-codec' ? 'PSNR, dB' : 'accuracy or agreement, %'

/** What a variant is worth by itself: the best point of its card, or how often it is right. */
function qualityOf({ card, accuracyPct, agreementPct }: Variant): number | undefined {
  return card === undefined ? (accuracyPct ?? agreementPct) : Math.max(...card.map(({ psnrDb }) => psnrDb))
}

const costOfVariant: Readonly<Record<string, (variant: Variant) => number | undefined>> = {
  macs: ({ macs }) => macs,
  bytes: (variant) => variant.bytes,
}
const costOfRun: Readonly<Record<string, (run: Run) => number | undefined>> = {
  energy: ({ joulesPerFrame }) => joulesPerFrame,
  latency: ({ latencyP95Ms }) => latencyP95Ms,
}

/** By rate: a point for each alpha of each variant. By its own cost: one a variant. On the fleet: one a variant and class. */
export function pointsOf(family: FamilyView, axis: Axis): PlanePoint[] {
  if (axis.key === 'rate')
    return family.variants.flatMap(({ id, card }) =>
      (card ?? []).map(({ alpha255, bitsPerPixel, psnrDb }) => ({
        variant: id,
        words: `${id}, alpha ${(alpha255 / 255).toFixed(2)}`,
        cost: bitsPerPixel,
        quality: psnrDb,
      })),
    )
  const ofVariant = costOfVariant[axis.key]
  if (ofVariant !== undefined)
    return family.variants.flatMap((variant) => {
      const [cost, quality] = [ofVariant(variant), qualityOf(variant)]
      return cost === undefined || quality === undefined
        ? []
        : [{ variant: variant.id, words: variant.id, cost, quality }]
    })
  return family.runs.flatMap((run) => {
    const variant = family.variants.find(({ id }) => id === run.variant)
    const cost = costOfRun[axis.key]?.(run)
    const quality = run.psnrDb ?? (variant && qualityOf(variant))
    return cost === undefined || quality === undefined
      ? []
      : [{ variant: run.variant, words: `${run.variant} on ${run.deviceClass}, ${run.devices} devices`, cost, quality }]
  })
}
