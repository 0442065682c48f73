import { openCodec } from '@espalier/shared/codec/open-codec'
import { Weights, type WeightTensor } from '@espalier/shared/codec/weights'
import { describeError } from '@espalier/shared/errors'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import type { CodecFamily } from '@espalier/shared/manifest/open-family'
import { type AdapterCosts, bakeAfterFrames, chooseAdapterWay } from '@espalier/shared/runtime/adapter-costs'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { Backend } from '@espalier/shared/runtime/session'

const SIDE = 192
const LIVE_RUNS = 6
/** Frames with one alpha: every frame another, the brake at its busiest (10 frames/s), and an undisturbed minute. */
const DWELLS = [1, 20, 600]

export interface AdapterRow extends AdapterCosts {
  readonly backend: Backend
  readonly variant: string
  /** Frames with one alpha after which its weights are baked; absent: never. */
  readonly bakeAfterFrames?: number | undefined
  /** Cheapest way by frames with one alpha. */
  readonly best: Readonly<Record<string, string>>
}

const picture = { width: SIDE, height: SIDE, rgb: new Uint8Array(SIDE * SIDE * 3).map((_, i) => (i * 31) & 0xff) }

async function timeLive(
  family: CodecFamily,
  { id, live }: CodecManifest['variants'][number],
  backend: Backend,
): Promise<number | undefined> {
  if (live === undefined) return undefined
  const weights = await Weights.load(family, live)
  const { input, output } = live
  const weightInputs = [...Object.keys(live.weights), 'alpha']
  const session = await openSession(await family.readBlob(live), {
    ...{ backend, threads: 1, input, output, weightInputs, name: `${id}, live` },
  })
  const alpha: WeightTensor = { shape: [1], values: Float32Array.of(128 / 255) }
  // At alpha 0 nothing is merged: the graph adds what its input says.
  const feeds = new Map([...weights.at(0), ['alpha', alpha]])
  const timesMs: number[] = []
  for (let run = 0; run < LIVE_RUNS; run++) {
    const startedMs = performance.now()
    await session.run({ type: 'uint8', data: picture.rgb, dims: [1, SIDE, SIDE, 3] }, feeds)
    timesMs.push(performance.now() - startedMs)
  }
  await session.close()
  return Math.min(...timesMs)
}

/** What the shipped codec's adapter costs in each way, on each backend that is here; one thread. */
export async function measureAdapters(
  familyDir: string,
  backends: readonly Backend[],
): Promise<{ readonly rows: readonly AdapterRow[]; readonly skipped: readonly string[] }> {
  const family = await openCodecFamily(familyDir)
  const [rows, skipped]: [AdapterRow[], string[]] = [[], []]
  for (const backend of backends) {
    try {
      const codec = await openCodec(family, { backend, threads: 1 })
      for (const variant of family.manifest.variants) {
        await codec.measureAdapter(picture, variant.id)
        const costs = {
          ...(await codec.measureAdapter(picture, variant.id)),
          liveMs: await timeLive(family, variant, backend),
        }
        const after = bakeAfterFrames(costs)
        const best = Object.fromEntries(DWELLS.map((frames) => [String(frames), chooseAdapterWay(costs, frames)]))
        rows.push({
          backend,
          variant: variant.id,
          ...costs,
          best,
          ...(Number.isFinite(after) ? { bakeAfterFrames: after } : {}),
        })
      }
      await codec.close()
    } catch (error) {
      skipped.push(`${backend}: ${describeError(error).split('\n')[0]}`)
    }
  }
  return { rows, skipped }
}

export function adapterPage({ rows, skipped }: Awaited<ReturnType<typeof measureAdapters>>): string {
  const ms = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(1))
  return [
    `Ways of running an adapted encoder, ${SIDE} x ${SIDE}, one thread, milliseconds: merged weights fed as inputs, baked into a session of their own, or the`,
    'adapter computed beside its layers; what is paid once for an alpha; frames with one alpha after which baking pays; the cheapest way when an alpha stays for so many frames.',
    '',
    '| backend | variant | inputs | baked | live | merge | bake | bake after | best for 1 / 20 / 600 frames |',
    '|---|---|---|---|---|---|---|---|---|',
    ...rows.map(
      (row) =>
        `| ${row.backend} | ${row.variant} | ${ms(row.inputsMs)} | ${ms(row.bakedMs)} | ${ms(row.liveMs)} | ${ms(row.mergeMs)} | ${ms(row.bakeMs)} | ${row.bakeAfterFrames ?? 'never'} | ${DWELLS.map((frames) => row.best[String(frames)]).join(' / ')} |`,
    ),
    '',
    ...skipped.flatMap((reason) => [`Not here: ${reason}`, '']),
  ].join('\n')
}
