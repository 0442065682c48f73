import { existsSync } from 'node:fs'
import { measureAdapterCost } from '@espalier/forge/measure/adapter-cost'
import { type AdapterWorth, measureAdapterWorth, missingFamilies } from '@espalier/forge/measure/adapter-worth'
import { measureEncodeSpeed } from '@espalier/forge/measure/encode-speed'
import { measureEntropySpeed } from '@espalier/forge/measure/entropy-speed'
import { evaluate, listPictures, readPicture } from '@espalier/forge/measure/evaluate'
import { type InterGain, measureInterGain } from '@espalier/forge/measure/inter-gain'
import { plotEvaluation } from '@espalier/forge/measure/plot'
import { measureRateControl, type RateControlRun } from '@espalier/forge/measure/rate-control-run'
import { measureVideoRivals, type VideoRival } from '@espalier/forge/measure/video-rivals'
import { openCodec, openFamilyCodec } from '@espalier/shared/codec/open-codec'
import { ConfigError } from '@espalier/shared/errors'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { startProgress } from '../progress.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'

const THREADS = 2
const CLIP_ALPHAS = [0.2, 0.45, 0.7]
/**
 * Every frame a key frame: each has bits to spend. The clip is played as fast as it takes to have enough of them: at its
 * own 12.5 frames a second its best quality is under 300 kbit/s.
 */
const KEY_TARGETS = [
  [50e3, 12.5],
  [100e3, 12.5],
  [200e3, 12.5],
  [400e3, 25],
  [800e3, 50],
].map(([targetBps, frameRate]) => ({ targetBps: targetBps!, frameRate: frameRate!, isInter: false }))
/** Frames that follow one another: once the cars are gone there is nothing to spend a target on, so only the cap counts. */
const INTER_TARGETS = KEY_TARGETS.map((target) => ({ ...target, frameRate: 12.5, isInter: true }))

/** Every video rival, or undefined where ffmpeg is absent, after saying so. */
async function runRivals(
  ...args: Parameters<typeof measureVideoRivals>
): Promise<Record<string, VideoRival> | undefined> {
  try {
    return await measureVideoRivals(...args)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`SKIPPED video rivals: ${error.message}\n`)
    return undefined
  }
}

/**
 * Everything that is claimed of the codec, from real files, in one run.
 *
 * @param folders.clip A fixed camera's frames. @param folders.compared Families of one rate each (forge/training/README.md).
 */
export async function benchCodec(
  familyDir: string,
  { kodak, clip, compared, alphas }: { kodak: string; clip: string; compared: string; alphas: readonly number[] },
): Promise<Findings> {
  const family = await openCodecFamily(familyDir)
  const codec = await openCodec(family, { threads: THREADS })
  const native = await openCodec(family, { threads: THREADS, backend: 'native' }).catch(() => undefined)
  const variants = family.manifest.variants.map(({ id }) => id)
  try {
    const files = await listPictures(kodak)
    const checks: Check[] = []

    // Times first, before anything has warmed the machine.
    const frames = existsSync(clip) ? await Promise.all((await listPictures(clip)).map(readPicture)) : []
    const frame = frames[0] ?? (await readPicture(files[0]!))
    const speed = await measureEncodeSpeed(
      [
        ...variants.map((variant) => ({ name: `${variant}, wasm`, codec, variant })),
        ...(native === undefined
          ? []
          : variants.map((variant) => ({ name: `${variant}, native`, codec: native, variant }))),
      ],
      frame,
      { alpha: 0.25, threads: THREADS },
    )
    const ratio = (name: string, rival: string): number => speed.ratios[name]![rival]!
    checks.push(
      atMost('encode 512x288, small, wasm: against AVIF effort 4', ratio('small, wasm', 'avif 4'), 0.4, 'times'),
    )
    checks.push(
      atMost('encode 512x288, small, wasm: against WebP effort 4', ratio('small, wasm', 'webp 4'), 4, 'times'),
    )
    if (native !== undefined)
      checks.push(atMost('encode 512x288, small, native: against WebP', ratio('small, native', 'webp 4'), 2, 'times'))
    const entropy = await measureEntropySpeed(family, codec, await readPicture(files[4]!), [0, 0.5, 1])
    const slowest = (key: 'encodeSymbolsPerS' | 'decodeSymbolsPerS') =>
      Math.min(...entropy.map((each) => each[key])) / 1e6
    checks.push(atLeast('entropy coding with contexts, kodim05', slowest('encodeSymbolsPerS'), 10, 'million symbols/s'))
    checks.push(
      atLeast('entropy decoding with contexts, kodim05', slowest('decodeSymbolsPerS'), 10, 'million symbols/s'),
    )
    const adapter = await measureAdapterCost(family, codec, frame, THREADS)
    checks.push(atMost('adapter set, full encoder and decoder', adapter.adapterBytes / 1000, 60, 'KB'))
    checks.push(atMost('alpha change until the next frame has it, worst of 35', adapter.changeMs.worst, 50, 'ms'))
    checks.push(atMost('merged against unadapted, time a frame', adapter.mergedRatio, 1.02, 'times'))

    const progress = startProgress('evaluating')
    const evaluation = await evaluate(codec, files, { variants, alphas, onProgress: progress.update }).finally(() =>
      progress.stop(),
    )
    const rate = (variant: string, anchor: 'jpeg420' | 'webp' | 'avif' | 'first'): number =>
      evaluation.bdRatePct[variant]?.[anchor] ?? Number.NaN
    checks.push(atMost('BD-rate, Kodak, full: against JPEG 4:2:0', rate('full', 'jpeg420'), -38, '%'))
    checks.push(atMost('BD-rate, Kodak, full: against WebP', rate('full', 'webp'), -5, '%'))
    checks.push(atMost('BD-rate, Kodak, full: against AVIF', rate('full', 'avif'), 18, '%'))
    checks.push(atMost('BD-rate, Kodak, small against full', rate('small', 'first'), 4, '%'))
    checks.push(atMost('BD-rate, Kodak, tiny against full', rate('tiny', 'first'), 12, '%'))

    let worth: AdapterWorth | undefined
    const missing = missingFamilies(compared)
    if (missing.length === 0) {
      const comparing = startProgress('one model against many')
      const open = (directory: string) =>
        openFamilyCodec(directory, { threads: THREADS, backend: native === undefined ? 'wasm' : 'native' })
      const one = evaluation.points.filter(({ variant }) => variant === 'full')
      worth = await measureAdapterWorth(one, compared, open, files, comparing.update).finally(() => comparing.stop())
      checks.push(atLeast('rates that alpha spans, Kodak, full', worth.rateRange, 4, 'to 1'))
      checks.push(atMost('BD-rate, one model against four of one rate each', worth.againstTunedPct, 6, '%'))
      const { step, gains } = worth.againstScaledPct
      checks.push(atMost('BD-rate, against scaling the latents alone, one step for all', step, -4, '%'))
      checks.push(atMost('BD-rate, against scaling the latents alone, a learned step for each channel', gains, -4, '%'))
    } else {
      process.stderr.write(
        `SKIPPED one model against many: "${compared}" lacks ${missing.join(', ')}; forge/training/README.md tells how to make them\n`,
      )
    }

    let rates: RateControlRun[] | undefined
    let inter: Record<'full' | 'small', InterGain> | undefined
    let rivals: Record<string, VideoRival> | undefined
    if (frames.length > 0) {
      const watching = startProgress('fixed camera')
      const follow = (variant: string, before: number) =>
        measureInterGain(codec, frames, {
          variant,
          alphas: CLIP_ALPHAS,
          onProgress: (done, of) => watching.update(before + done, 2 * of),
        })
      try {
        inter = { full: await follow('full', 0), small: await follow('small', 2 * CLIP_ALPHAS.length) }
      } finally {
        watching.stop()
      }
      checks.push(
        atMost('inter coding, fixed camera: bits against intra at equal PSNR', inter.full.bdRatePct, -35, '%'),
      )
      const racing = startProgress('video rivals')
      const ours = inter.full.inter.map((point) => ({
        setting: point.alpha,
        bitsPerFrame: point.bitsPerFrame,
        psnrDb: point.psnrDb,
        encodeCpuMs: (point.encodeCpuS * 1e3) / frames.length,
      }))
      rivals = await runRivals(frames, ours, racing.update).finally(() => racing.stop())
      process.stderr.write(`rate control: ${frames.length} frames at each of five rates, twice\n`)
      rates = await measureRateControl(codec, frames, { variant: 'small', targets: [...KEY_TARGETS, ...INTER_TARGETS] })
      for (const { targetBps, frameRate, isInter, meanRatio, worstWindowRatio, scale, saturated } of rates) {
        const name = `rate control at ${targetBps / 1000} kbit/s, ${frameRate} ${isInter ? 'inter' : 'key'} frames/s${scale === 1 ? '' : `, ${scale} of the size`}${saturated === null ? '' : ` (saturated ${saturated})`}`
        if (isInter) checks.push(atMost(`${name}: mean over the target`, (meanRatio - 1) * 100, 3, '%'))
        else checks.push(atMost(`${name}: mean off the target`, Math.abs(meanRatio - 1) * 100, 3, '%'))
        checks.push(atMost(`${name}: fullest second over the target`, worstWindowRatio, 1.15, 'times'))
      }
    } else {
      process.stderr.write(`SKIPPED inter coding: "${clip}" is absent\n`)
    }
    return {
      checks,
      details: { speed, entropy, adapter, evaluation, worth, inter, rivals, rates },
      plots: plotEvaluation(evaluation),
    }
  } finally {
    await Promise.all([codec.close(), native?.close()])
  }
}
