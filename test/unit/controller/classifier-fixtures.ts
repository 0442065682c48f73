import { makeClassifierManifest } from '../make-classifier-manifest.ts'

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

/** 90 % right at 1e9 multiply-accumulates, 81 % at a tenth. */
export const sorts = makeClassifierManifest([
  { id: 'base', macs: 1e9, judged: { pictures: 100, accuracyPct: 90, agreementPct: 100 } },
  { id: 'lean', macs: 1e8, judged: { pictures: 100, accuracyPct: 81, agreementPct: 88 } },
])
