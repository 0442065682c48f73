import type { ClassifierManifest } from '@espalier/shared/manifest/classifier-manifest'
import { parseManifest } from '@espalier/shared/manifest/manifest'

const blob = { sha256: 'b'.repeat(64), bytes: 1 }

export interface VariantSpec {
  readonly id: string
  readonly macs: number
  readonly judged?: object
  readonly measured?: readonly object[]
}

/** A family of classifiers of two classes with figures and no graphs: enough to plan with, and to be told what to run. */
export function makeClassifierManifest(
  variants: readonly VariantSpec[],
  changes: { family?: string; labels?: readonly string[] } = {},
): ClassifierManifest {
  const text = JSON.stringify({
    format: 'espalier-family/1',
    family: 'sorts',
    version: '1.0.0',
    task: 'classification',
    licence: 'Apache-2.0',
    description: '',
    input: { layout: 'nchw', dims: [1, 3, 24, 32], colour: 'rgb' },
    output: { classes: 2, scores: 'logits' },
    tensors: {},
    variants: variants.map(({ macs, ...variant }) => ({
      ...variant,
      graph: { ...blob, input: 'x', output: 'y', macs },
      tensors: [],
      source: blob,
      lineage: [],
    })),
    golden: { input: blob, cases: variants.map(({ id }) => ({ variant: id, output: blob, tolerance: 0.1 })) },
    ...changes,
  })
  return parseManifest(text, 'made up') as ClassifierManifest
}
