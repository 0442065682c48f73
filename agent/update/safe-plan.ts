import type { Manifest } from '@espalier/shared/manifest/manifest'
import type { Plan } from '../governor/governor.ts'

/** Multiply-accumulates of a variant, comparable within its family. */
function costs(manifest: Manifest): { readonly id: string; readonly macs: number }[] {
  return manifest.task === 'image-codec'
    ? manifest.variants.map(({ id, encoder }) => ({ id, macs: encoder.macsPerPixel }))
    : manifest.variants.map(({ id, graph }) => ({ id, macs: graph.macs }))
}

/**
 * What runs where nothing else does: the smallest variant, otherwise as a plan that is known to suit the slot, and
 * within the limits that hold.
 */
export function safePlan(manifest: Manifest, suiting: Plan, limits: Omit<Plan, 'ladder'>): Plan {
  const { id: variant } = costs(manifest).reduce((least, each) => (each.macs < least.macs ? each : least))
  const { configuration } = suiting.ladder[0]!
  const rung = { configuration: { ...configuration, variant }, rateBps: 0, powerW: 0, utility: 0 }
  return { ...limits, ladder: [rung] }
}
