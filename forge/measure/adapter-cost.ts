import type { Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { Weights, type WeightTensor } from '@espalier/shared/codec/weights'
import { ConfigError } from '@espalier/shared/errors'
import type { CodecFamily } from '@espalier/shared/manifest/open-family'
import { openSession } from '@espalier/shared/runtime/open-session'

export interface AdapterCost {
  /** Milliseconds of the network a frame; medians of rounds that take all three in turn. */
  readonly unadaptedMs: number
  readonly mergedMs: number
  readonly liveMs: number
  /** Medians of the ratios of each round. */
  readonly mergedRatio: number
  readonly liveRatio: number
  /** Between the latents of live and merged, in quantiser steps, at alpha 1. */
  readonly largestDifference: number
  /** Symbols that round differently. */
  readonly differingShare: number
  /** From asking for another alpha to the next frame's weights being in place. */
  readonly changeMs: { readonly median: number; readonly worst: number }
  /** Of everything that alpha moves in this encoder and the full decoder. */
  readonly adapterBytes: number
}

const WARM_UP_ROUNDS = 3
const ROUNDS = 25
const TINY: Picture = { width: 16, height: 16, rgb: new Uint8Array(16 * 16 * 3).fill(90) }

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b)
const median = (values: readonly number[]): number => sorted(values)[values.length >> 1]!

function adapterBytes({ manifest }: CodecFamily): number {
  const names = new Set<string>()
  const moved = [manifest.variants[0]!.encoder, manifest.decoders.full].flatMap(({ weights }) => Object.values(weights))
  for (const [target, update] of Object.entries(manifest.adapters[0]!.updates))
    if (moved.includes(target))
      for (const [field, name] of Object.entries(update)) if (field !== 'kind') names.add(name)
  return [...names].reduce((sum, name) => sum + manifest.tensors[name]!.bytes, 0)
}

/**
 * What adapters cost a frame of the first variant: merged into the weights, or live beside the layers, against the
 * same graph without any (ALICE measures the same on boards).
 *
 * @throws {ConfigError} If the family has no live graph.
 */
export async function measureAdapterCost(
  family: CodecFamily,
  codec: PictureCodec,
  picture: Picture,
  threads: number,
): Promise<AdapterCost> {
  const variant = family.manifest.variants[0]!
  if (variant.live === undefined)
    throw new ConfigError(
      `Cannot measure live adapters: "${variant.id}" of "${family.manifest.family}" has no live graph`,
    )
  const open = async (entry: typeof variant.encoder, more: readonly string[]) => ({
    weights: await Weights.load(family, entry),
    session: await openSession(await family.readBlob(entry), {
      backend: 'wasm',
      input: entry.input,
      output: entry.output,
      weightInputs: [...Object.keys(entry.weights), ...more],
      threads,
      name: variant.id,
    }),
  })
  const merged = await open(variant.encoder, [])
  const live = await open(variant.live, ['alpha'])
  const liveFeeds = new Map<string, WeightTensor>([
    ...live.weights.at(0),
    ['alpha', { shape: [1], values: Float32Array.of(1) }],
  ])
  // A second set of the same weights, so that both alphas are merged once, not in every round.
  const adapted = (await Weights.load(family, variant.encoder)).at(255)
  const frame = { type: 'uint8', dims: [1, picture.height, picture.width, 3], data: picture.rgb } as const
  const run = async (session: typeof merged.session, feeds: ReadonlyMap<string, WeightTensor>) => {
    const started = performance.now()
    const { data } = await session.run(frame, feeds)
    return { ms: performance.now() - started, latent: data as Float32Array }
  }

  const times = { unadapted: [] as number[], merged: [] as number[], live: [] as number[] }
  let [largestDifference, differing, count] = [0, 0, 1]
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    // New weights make new input tensors: one run before the timed one takes that out.
    await run(merged.session, merged.weights.at(0))
    const unadapted = await run(merged.session, merged.weights.at(0))
    await run(merged.session, adapted)
    const byMerging = await run(merged.session, adapted)
    const beside = await run(live.session, liveFeeds)
    if (round < 0) continue
    times.unadapted.push(unadapted.ms)
    times.merged.push(byMerging.ms)
    times.live.push(beside.ms)
    if (round > 0) continue
    count = beside.latent.length
    for (let i = 0; i < count; i++) {
      largestDifference = Math.max(largestDifference, Math.abs(beside.latent[i]! - byMerging.latent[i]!))
      if (Math.round(beside.latent[i]!) !== Math.round(byMerging.latent[i]!)) differing++
    }
  }
  const changes: number[] = []
  for (let i = 0; i < 40; i++) {
    const alpha255 = (i * 97) % 256
    const started = performance.now()
    await codec.encode(TINY, { variant: variant.id, alpha255 })
    const changed = performance.now()
    await codec.encode(TINY, { variant: variant.id, alpha255 })
    // The same frame again at the same alpha: what remains is the change.
    if (i >= 5) changes.push(changed - started - (performance.now() - changed))
  }
  await Promise.all([merged.session.close(), live.session.close()])
  return {
    unadaptedMs: median(times.unadapted),
    mergedMs: median(times.merged),
    liveMs: median(times.live),
    mergedRatio: median(times.merged.map((ms, i) => ms / times.unadapted[i]!)),
    liveRatio: median(times.live.map((ms, i) => ms / times.unadapted[i]!)),
    largestDifference,
    differingShare: differing / count,
    changeMs: { median: median(changes), worst: sorted(changes).at(-1)! },
    adapterBytes: adapterBytes(family),
  }
}
