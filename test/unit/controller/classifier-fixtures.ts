import type { ClassifierManifest } from '@espalier/shared/manifest/classifier-manifest'
import { parseManifest } from '@espalier/shared/manifest/manifest'

const blob = { sha256: 'b'.repeat(64), bytes: 1 }

/** A card of a variant on the class of the fixtures' devices. */
export const card = (p50: number, threads = 1) => ({
  deviceClass: 'test',
  backend: 'wasm',
  threads,
  width: 32,
  height: 24,
  alpha255: 0,
  samples: 10,
  latencyMs: { p50, p95: p50 },
  joulesPerFrame: { value: 0.1, source: 'model:test', interval: [0.05, 0.15] },
  rssBytes: 1e8,
})

export interface VariantSpec {
  readonly id: string
  readonly macs: number
  readonly judged?: object
  readonly measured?: readonly object[]
}

/** A family of classifiers with figures and no graphs: enough to plan with. */
export function classifierManifest(variants: readonly VariantSpec[]): ClassifierManifest {
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
  })
  return parseManifest(text, 'sorts') as ClassifierManifest
}

/** 90 % right at 1e9 multiply-accumulates, 81 % at a tenth. */
export const sorts = classifierManifest([
  { id: 'base', macs: 1e9, judged: { pictures: 100, accuracyPct: 90, agreementPct: 100 } },
  { id: 'lean', macs: 1e8, judged: { pictures: 100, accuracyPct: 81, agreementPct: 88 } },
])
