import type { Configuration } from '@espalier/shared/configuration'
import { type ClassifierManifest, inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { memoryRefusal } from '@espalier/shared/manifest/memory-need'
import { describeRuntime, isSameRuntime, type Runtime } from '../backends/runtime.ts'

/** What a slot of this device can run. */
export interface Ability {
  readonly manifest: Manifest
  readonly runtimes: readonly Runtime[]
  /** RAM that a worker may have. */
  readonly maxWorkerBytes: number
}

/** A classifier takes one size and knows no alpha. */
function classifierRefusal(
  { alpha255, width, height }: Configuration,
  { family, input }: ClassifierManifest,
): string | undefined {
  const size = inputSize(input)
  if (alpha255 !== 0) return `found alpha ${alpha255}/255, "${family}" has no adapter`
  if (width !== size.width || height !== size.height)
    return `found size ${width} x ${height}, "${family}" takes ${size.width} x ${size.height}`
  return undefined
}

/** Why this device cannot run a ladder, as a sentence for the controller; undefined if it can run all of it. */
export function findRefusal(
  configurations: readonly Configuration[],
  { manifest, runtimes, maxWorkerBytes }: Ability,
): string | undefined {
  const [first] = configurations
  for (const configuration of configurations) {
    const { family, variant, mode } = configuration
    if (family !== manifest.family) return `found family "${family}", this slot runs "${manifest.family}"`
    if (manifest.variants.every(({ id }) => id !== variant))
      return `found variant "${variant}", "${family}" has ${manifest.variants.map(({ id }) => `"${id}"`).join(', ')}`
    if (mode !== 'merged') return `found mode "${mode}", this device runs "merged"`
    if (!runtimes.some((runtime) => isSameRuntime(runtime, configuration)))
      return `found backend ${describeRuntime(configuration)}, this device runs ${runtimes.map(describeRuntime).join(' or ')}`
    // The brake goes up and down a ladder between two frames, which a change of process cannot.
    if (!isSameRuntime(first!, configuration))
      return `found backends ${describeRuntime(first!)} and ${describeRuntime(configuration)} in one ladder, expected one`
    const refusal =
      (manifest.task === 'classification' ? classifierRefusal(configuration, manifest) : undefined) ??
      memoryRefusal(manifest, configuration, maxWorkerBytes)
    if (refusal !== undefined) return refusal
  }
  return undefined
}
